"""The watch container: measures the volume, asks LocalStack how it is, and keeps copies of its state. What the gate,
the probes and people must know it tells by files in STATE.

full, over     flags: no more writes; uploads under way are cut
full.*         the answers to refused writes, made of the templates in ANSWERS
healthy        flag, with health.json for the details and `reason` for a person
metrics.txt    for Prometheus

VOLUME PERSISTED KEPT SCRATCH STATE COUNTERS   folders, as in components/localstack/layout.ts
LOCALSTACK_URL        of LocalStack itself, not of the gate
SERVICES              that must be there, with commas
LIMIT RESERVE KEEP_FREE   bytes
INTERVAL              seconds between two measurements. Many files are measured less often: see measure.py
ANSWERS               JSON file: templates by name, with {message} for the figures
NAMESPACE             for the commands in messages
KEEP                  1 where copies of the state are kept, else 0
OPEN_FILES            1 where open files without a name hold data
LAMBDA_IMAGES_LIMIT   bytes, where functions run in the pod
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from health import Asker, Health, silent
from keep import Keeper, complain, read_reports
from measure import Limits, Measurement, Meter, full_message, is_full, is_over
from metrics import Counters, gauge, metric

ASK_SECONDS = 1
KEEP_SECONDS = 1

CLASSES = ("2xx", "4xx", "5xx")
COUNTED_SERVICES = ("s3", "sqs", "sns", "dynamodb", "lambda", "other")

NEEDED = (
    *("VOLUME", "PERSISTED", "KEPT", "SCRATCH", "STATE", "COUNTERS", "LOCALSTACK_URL", "SERVICES"),
    *("LIMIT", "RESERVE", "KEEP_FREE", "INTERVAL", "ANSWERS", "NAMESPACE", "KEEP"),
)


@dataclass(frozen=True)
class Settings:
    volume: str
    persisted: str
    kept: str
    state: str
    counters: str
    url: str
    services: list[str]
    limits: Limits
    interval: float
    answers: str
    namespace: str
    keep: bool
    open_files: bool
    lambda_images_limit: float

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Settings":
        missing = [name for name in NEEDED if not environment.get(name)]
        if missing:
            sys.exit(f"watch.py: not set: {', '.join(missing)}")
        return cls(
            volume=environment["VOLUME"],
            persisted=environment["PERSISTED"],
            kept=environment["KEPT"],
            state=environment["STATE"],
            counters=environment["COUNTERS"],
            url=environment["LOCALSTACK_URL"],
            services=environment["SERVICES"].split(","),
            limits=Limits(*(int(number(environment, name)) for name in ("LIMIT", "RESERVE", "KEEP_FREE"))),
            interval=number(environment, "INTERVAL"),
            answers=environment["ANSWERS"],
            namespace=environment["NAMESPACE"],
            keep=environment["KEEP"] == "1",
            open_files=environment.get("OPEN_FILES") == "1",
            lambda_images_limit=number(environment, "LAMBDA_IMAGES_LIMIT"),
        )


def number(environment: Mapping[str, str], name: str) -> float:
    try:
        return float(environment.get(name) or 0)
    except ValueError:
        sys.exit(f"watch.py: {name} is no number: {environment[name]}")


class Watch:
    """Three loops, each in a thread: none waits for another."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.meter = Meter(settings.volume, f"{settings.state}/lambda-images.used", settings.open_files)
        self.asker = Asker(settings.url, settings.services, settings.namespace)
        self.keeper = Keeper(settings.persisted, settings.kept)
        self.counters = Counters(settings.counters)
        self.answers = read_answers(settings.answers)
        self.measured: Measurement | None = None
        self.volume_problem = "the volume is being measured"
        self.health: Health = silent("LocalStack is starting")
        self.message = ""

    def start(self) -> None:
        self.tell_health()
        # Until it is known, it is full.
        self.tell_full("LocalStack's storage has not been measured yet; try again in a few seconds", over=False)
        if self.settings.keep:
            in_background("keeping", self.keep, KEEP_SECONDS)
        in_background("asking", self.ask, ASK_SECONDS)
        forever("measuring", self.measure, self.settings.interval)

    def measure(self) -> None:
        try:
            self.measured, self.volume_problem = self.meter.measure(), ""
        except OSError as error:
            # What was told before still holds.
            self.volume_problem = f"the volume cannot be measured: {error}"
        if self.measured and not self.volume_problem:
            limits = self.settings.limits
            full = is_full(self.measured, limits)
            self.tell_full(full_message(self.measured, limits) if full else "", is_over(self.measured, limits))
        self.put("metrics.txt", self.metrics())
        if self.volume_problem:
            raise OSError(self.volume_problem)

    def tell_full(self, message: str, over: bool) -> None:
        if message and message != self.message:
            for name, template in self.answers.items():
                self.put(name, template.replace("{message}", message))
        self.message = message
        self.flag("over", over)
        self.flag("full", bool(message))

    def ask(self) -> None:
        self.health = self.asker.ask()
        self.tell_health()

    def tell_health(self) -> None:
        health, pages = self.health, self.health.pages
        reason = health.reason or self.volume_problem
        told = {
            "status": "fail" if reason else "pass",
            "checks": {**health.checks, "volume": "fail" if self.volume_problem else "pass"},
            "services": pages.services if pages else {},
            "init": pages.init.of_people() if pages else [],
            "notes": self.notes(),
        }
        self.put("health.json", json.dumps(told))
        self.put("reason", reason)
        self.flag("healthy", not reason)

    def notes(self) -> list[str]:
        return read_reports(self.settings.kept, self.settings.persisted) if self.settings.keep else []

    def keep(self) -> None:
        began = time.monotonic()
        self.keeper.look()
        # Half of the time at most, where much is saved.
        time.sleep(time.monotonic() - began)

    def metrics(self) -> str:
        settings, pages = self.settings, self.health.pages
        parts = [
            gauge("limit_bytes", "The quota.", settings.limits.limit),
            gauge("full", "1 while writes are refused.", bool(self.message)),
            gauge("up", "1 while LocalStack answers.", bool(pages)),
            gauge(
                "healthy", "1 while LocalStack is ready to be used.", not (self.health.reason or self.volume_problem)
            ),
            gauge(
                "metrics_timestamp_seconds",
                "When these figures were written: they stay where the watch container dies.",
                int(time.time()),
            ),
            *self.storage_metrics(),
            *self.request_metrics(),
        ]
        if pages:
            states = [({"service": service, "state": state}, 1) for service, state in sorted(pages.services.items())]
            scripts = Counter(script["state"].lower() for script in pages.init.of_people())
            parts += [
                metric("service_state", "gauge", "1 for the state in which each service is.", states),
                metric(
                    "init_scripts",
                    "gauge",
                    "Init scripts by state.",
                    [({"state": s}, n) for s, n in sorted(scripts.items())],
                ),
            ]
        if settings.keep:
            parts += [
                gauge(
                    "state_kept_age_seconds",
                    "Age of the oldest change of the state that has no copy.",
                    self.keeper.age(),
                ),
                gauge("state_mended", "What a kill had damaged, found at the last start.", len(self.notes())),
            ]
        return "\n".join(parts)

    def storage_metrics(self) -> list[str]:
        measured, images_limit = self.measured, self.settings.lambda_images_limit
        parts = []
        if images_limit:
            parts.append(gauge("lambda_images_limit_bytes", "What the images of functions may hold.", images_limit))
        if measured:
            parts += [
                gauge("used_bytes", "What LocalStack holds, the images of functions included.", measured.used),
                gauge("disk_free_bytes", "What the node's disk has left.", measured.free),
                gauge("lambda_images_bytes", "What the images of functions hold.", measured.lambda_images),
                gauge("measure_seconds", "How long the last walk over the volume took.", measured.seconds),
            ]
        return parts

    def request_metrics(self) -> list[str]:
        def counter(name: str, text: str, label: str, values: tuple[str, ...], prefix: str) -> str:
            return metric(name, "counter", text, [({label: v}, self.counters.count(f"{prefix}.{v}")) for v in values])

        return [
            counter("requests_total", "Requests by class of status.", "class", CLASSES, "requests"),
            counter("service_requests_total", "Requests by service.", "service", COUNTED_SERVICES, "requests"),
            counter(
                "service_errors_total", "Answers of 500 and above by service.", "service", COUNTED_SERVICES, "errors"
            ),
            metric(
                "refused_total",
                "counter",
                "Writes refused while storage was full.",
                [({}, self.counters.count("refused"))],
            ),
        ]

    def put(self, name: str, text: str) -> None:
        """Whole or not at all, as nginx may read it at any moment."""
        path = f"{self.settings.state}/{name}"
        with open(f"{path}.new", "w") as file:
            file.write(text and f"{text}\n")
        os.replace(f"{path}.new", path)

    def flag(self, name: str, up: bool) -> None:
        path = f"{self.settings.state}/{name}"
        if up:
            open(path, "a").close()
        elif os.path.exists(path):
            os.remove(path)


def read_answers(path: str) -> dict[str, str]:
    try:
        with open(path) as file:
            return dict(json.load(file))
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"watch.py: ANSWERS cannot be read: {error}")


def in_background(name: str, step: Callable[[], None], seconds: float) -> None:
    threading.Thread(target=forever, args=(name, step, seconds), name=name, daemon=True).start()


def forever(name: str, step: Callable[[], None], seconds: float) -> None:
    """An error ends the step only, and is said once until another takes its place."""
    said = ""
    while True:
        try:
            step()
        except Exception as error:
            sentence = f"{name} failed, and is tried again: {type(error).__name__}: {error}"
            if sentence != said:
                said = sentence
                complain(sentence)
        time.sleep(seconds)


def main() -> None:
    # As process 1 it would ignore a signal that it has no handler for. What is half done has a name of its own.
    for number_of_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_of_signal, lambda *_: os._exit(0))
    watch = Watch(Settings.of(os.environ))
    watch.start()


if __name__ == "__main__":
    main()
