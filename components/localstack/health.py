"""Asks LocalStack how it is, and says it in one line for a person. Imported by watch.py."""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# LocalStack answers in milliseconds, and within a second or two while it saves: later than this is no answer.
ANSWER_SECONDS = 5
MOST_BYTES = 1 << 20
# One missing answer is a busy LocalStack. So many in a row are none.
MISSED_ASKS = 3
# LocalStack logs each question for its init scripts. They are at rest once it is ready.
INIT_SECONDS = 60
# Scripts of our own (init-scripts.ts), which people need not know of unless one fails.
OWN_PREFIX = "00-homecloud-"
# A start takes half a minute, with much state on a slow node two.
START_SECONDS = 180


class NoAnswer(Exception):
    """LocalStack did not answer, or with something that is not its page."""


@dataclass(frozen=True)
class Init:
    """Stages that are completed, and scripts with stage, name and state."""

    completed: set[str]
    scripts: list[dict[str, str]]

    def of_people(self) -> list[dict[str, str]]:
        return [script for script in self.scripts if not script["name"].startswith(OWN_PREFIX)]


@dataclass(frozen=True)
class Pages:
    """What LocalStack says of itself: services with their states, and its start."""

    services: dict[str, str]
    init: Init


@dataclass(frozen=True)
class Health:
    """What probes and people are told. All is well while the reason is empty."""

    reason: str
    checks: dict[str, str]
    pages: Pages | None = None


def silent(reason: str) -> Health:
    return Health(reason, {"localstack": "fail", "services": "fail", "init": "fail"})


class Asker:
    """Asks once in a while, and judges by what was heard before, too."""

    def __init__(self, url: str, services: list[str], namespace: str) -> None:
        self.url = url
        self.services = services
        self.see_logs = f"see kubectl -n {namespace} logs deploy/localstack -c localstack"
        self.began = time.monotonic()
        self.last = silent("LocalStack is starting")
        self.was_healthy = False
        self.missed = 0
        self.init: Init | None = None
        self.asked_for_init = 0.0

    def ask(self) -> Health:
        try:
            self.last = self.judge(Pages(fetch_services(self.url), self.fetch_init()))
            self.was_healthy = self.was_healthy or not self.last.reason
            self.missed = 0
        except NoAnswer:
            self.missed += 1
            # It may be another LocalStack that answers next.
            self.init = None
            if not self.was_healthy:
                self.last = silent(self.starting())
            elif self.missed >= MISSED_ASKS or self.last.reason:
                self.last = silent(f"LocalStack does not answer: {self.see_logs}")
        return self.last

    def fetch_init(self) -> Init:
        asked = time.monotonic() - self.asked_for_init
        if self.init and "READY" in self.init.completed and asked < INIT_SECONDS:
            return self.init
        self.asked_for_init = time.monotonic()
        self.init = fetch_init(self.url)
        return self.init

    def starting(self) -> str:
        seconds = int(time.monotonic() - self.began)
        if seconds < START_SECONDS:
            return "LocalStack is starting"
        return f"LocalStack has not answered for {seconds} s: {self.see_logs}"

    def judge(self, pages: Pages) -> Health:
        problems = {"localstack": "", "services": self.of_services(pages), "init": self.of_init(pages.init)}
        # A script often fails because a service has.
        reason = problems["services"] or problems["init"]
        return Health(reason, {check: "fail" if problem else "pass" for check, problem in problems.items()}, pages)

    def of_services(self, pages: Pages) -> str:
        for service in self.services:
            state = pages.services.get(service)
            if state is None:
                return f"LocalStack has no service {service}"
            if state == "disabled":
                return f"the service {service} is disabled in LocalStack"
            if state == "error":
                return f"the service {service} failed to start: {self.see_logs}"
        return ""

    def of_init(self, init: Init) -> str:
        # Where LocalStack says ERROR, its page was answered with 200 all the same.
        for script in init.scripts:
            if script["state"] == "ERROR":
                return f"the init script {path_of(script)} failed: {self.see_logs}"
        for script in init.scripts:
            if script["state"] == "RUNNING":
                return f"LocalStack is starting: the init script {path_of(script)} is running"
        # Scripts of the stage BOOT ran in a process of their own, and stay UNKNOWN.
        return "" if {"START", "READY"} <= init.completed else "LocalStack is starting"


def path_of(script: dict[str, str]) -> str:
    """LocalStack tells the stage and the file's name."""
    return f"/etc/localstack/init/{script['stage'].lower()}.d/{script['name']}"


def fetch_services(url: str) -> dict[str, str]:
    page = fetch(url, "/_localstack/health")
    try:
        return {str(name): str(state) for name, state in page["services"].items()}
    except (AttributeError, KeyError) as error:
        raise NoAnswer from error


def fetch_init(url: str) -> Init:
    page = fetch(url, "/_localstack/init")
    try:
        completed = {stage for stage, done in page["completed"].items() if done}
        return Init(
            completed, [{key: str(script[key]) for key in ("stage", "name", "state")} for script in page["scripts"]]
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise NoAnswer from error


def fetch(url: str, path: str) -> dict[str, Any]:
    """By hand, as http.client limits each single read only, and takes half of the memory that the watch rests in."""
    place = urlsplit(url)
    request = f"GET {path} HTTP/1.0\r\nHost: {place.netloc}\r\nAccept: application/json\r\n\r\n"
    try:
        answer = exchange((place.hostname or "", place.port or 80), request.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        page = json.loads(body)
    except (OSError, ValueError) as error:
        raise NoAnswer from error
    if head.split()[1:2] != [b"200"] or not isinstance(page, dict):
        raise NoAnswer
    return page


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    end = time.monotonic() + ANSWER_SECONDS
    answer = bytearray()
    with socket.create_connection(address, ANSWER_SECONDS) as connection:
        connection.sendall(request)
        while len(answer) < MOST_BYTES:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(1 << 16)
            if not piece:
                break
            answer += piece
    return bytes(answer)
