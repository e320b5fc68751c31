"""Keeps copies of LocalStack's state files, and puts them in the place of damaged ones.

localstack-persist opens a state file for writing and writes: a kill in the middle leaves a part of it, the next start
begins with an empty service, and its first save overwrites the rest.

As `python3 keep.py mend`, before LocalStack starts: empties SCRATCH, puts the last good copy in the place of each
damaged file, or takes that away where there is no copy, and says so on stdout and in KEPT/mended.json. It never fails a
start: whatever goes wrong is said, and it ends with 0.

As Keeper, in watch.py: copies each state file that has changed, has been quiet for a moment and can be read. Each file
for itself: localstack-persist saves one service after the other, so that any kill leaves some a save behind the others,
and taking back what is whole would only lose more. No hard links: a file is emptied and written anew in place, and a
link would be emptied with it.

VOLUME     the volume, for the folder `damaged`
PERSISTED  localstack-persist's folder
KEPT       folder of the copies
SCRATCH    LocalStack's temporary files
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import statefiles
from statefiles import UNFINISHED, Damaged, Signature, is_live_database, sidecars, signature

REPORT = "mended.json"
# LocalStack's own, in lines: see saving.py.
S3_REPORT = "s3/homecloud-report.txt"

# Damaged files stay for a look at them. They count against the quota.
MOST_DAMAGED_FILES = 5
MOST_DAMAGED_BYTES = 512 << 20

# A live database survives kills by itself. Its copy is for a failing disk, and costs as much room as the database.
DATABASE_SECONDS = 600
MOST_DATABASE_BYTES = 512 << 20


@dataclass(frozen=True)
class Folders:
    volume: str
    persisted: str
    kept: str
    scratch: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Folders":
        names = ("VOLUME", "PERSISTED", "KEPT", "SCRATCH")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            sys.exit(f"keep.py: not set: {', '.join(missing)}")
        return cls(*(environment[name] for name in names))

    @property
    def damaged(self) -> str:
        return f"{self.volume}/damaged"


@dataclass(frozen=True)
class Mended:
    """What was done about a file: it was restored, emptied or left."""

    file: str
    done: str
    sentence: str
    age_seconds: int | None = None


def mend(folders: Folders) -> None:
    with attempt(f"{folders.scratch} could not be emptied"):
        empty(folders.scratch, [folders.volume, folders.persisted, folders.kept])
    for folder in (folders.persisted, folders.kept):
        with attempt(f"unfinished files in {folder} could not be removed"):
            remove_unfinished(folder)
    mended: list[Mended] = []
    with attempt("the state files could not be looked at"):
        mend_files(folders, mended)
    with attempt(f"files in {folders.damaged} could not be removed"):
        remove_old_damaged(folders.damaged)
    with attempt("the report could not be written"):
        write_report(folders.kept, mended)


def mend_files(folders: Folders, mended: list[Mended]) -> None:
    names = list(statefiles.find(folders.persisted))
    for name in names:
        with attempt(f"{name} could not be mended"):
            if done := mend_file(folders, name):
                say(done.sentence)
                mended.append(done)
    if not mended:
        say(f"every state file can be read ({len(names)})")


def mend_file(folders: Folders, name: str) -> Mended | None:
    path, service = f"{folders.persisted}/{name}", name.split("/")[0]
    try:
        statefiles.check(path, name)
        return None
    except Damaged as error:
        problem = str(error)
    except OSError as error:
        # It may be whole: of another user, say, after a backup was put back.
        why = error.strerror or error
        return Mended(name, "left", f"{name} cannot be read ({why}) and was left: {service} starts empty")

    aside = set_aside(folders.damaged, path, name)
    for sidecar in sidecars(path):
        set_aside(folders.damaged, sidecar, name + sidecar.removeprefix(path))
        os.remove(sidecar)
    found = f"{name} was damaged ({problem})"
    age = restore(folders, name)
    if age is not None:
        return Mended(name, "restored", f"{found}: restored as it was {age} s before{aside}", age)
    os.remove(path)
    return Mended(name, "emptied", f"{found} and has no good copy: {service} starts empty{aside}")


def restore(folders: Folders, name: str) -> int | None:
    """Seconds between the copy and the damaged file; None where there is no good copy, or no way to use it."""
    path, copy = f"{folders.persisted}/{name}", f"{folders.kept}/{name}"
    try:
        statefiles.check(copy, name)
        # Copies have the times of what they are copies of.
        age = max(0, round(os.stat(path).st_mtime - os.stat(copy).st_mtime))
    except (Damaged, OSError):
        return None
    try:
        with unfinished(path) as new:
            shutil.copyfile(copy, new)
            finish(new, path, os.stat(copy).st_mtime_ns)
    except OSError as error:
        say(f"{name}: no second copy of it could be made ({error.strerror}), the only one takes its place")
        os.replace(copy, path)
    return age


def set_aside(damaged: str, path: str, name: str) -> str:
    """A second name for the file. The first stays until it is replaced, lest a kill leave nothing. Ends a sentence."""
    target = f"{damaged}/{datetime.now(timezone.utc):%Y%m%d-%H%M%S.%f}-{name.replace('/', '-')}"
    try:
        os.makedirs(damaged, exist_ok=True)
        os.link(path, target)
        return f"; the damaged file is {target}"
    except OSError as error:
        return f"; the damaged file could not be set aside ({error.strerror})"


def remove_old_damaged(damaged: str) -> None:
    if not os.path.isdir(damaged):
        return
    total = 0
    for count, name in enumerate(sorted(os.listdir(damaged), reverse=True), start=1):
        total += os.stat(f"{damaged}/{name}").st_size
        if count > MOST_DAMAGED_FILES or total > MOST_DAMAGED_BYTES:
            os.remove(f"{damaged}/{name}")


def empty(folder: str, spare: list[str]) -> None:
    if any(f"{os.path.realpath(other)}/".startswith(f"{os.path.realpath(folder)}/") for other in spare):
        raise ValueError("it holds the state")
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.remove(entry.path)


def remove_unfinished(folder: str) -> None:
    for name in statefiles.find(folder, unfinished=True):
        os.remove(f"{folder}/{name}")


def write_report(kept: str, mended: list[Mended]) -> None:
    path = f"{kept}/{REPORT}"
    # Lest an old report be taken for this start's where there is no room for another.
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.makedirs(kept, exist_ok=True)
    report = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": [asdict(done) for done in mended]}
    with unfinished(path) as new:
        with open(new, "w") as file:
            json.dump(report, file)
        os.replace(new, path)


def read_reports(kept: str, persisted: str) -> list[str]:
    """What was found and done at the last start, in sentences."""
    sentences = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(f"{kept}/{REPORT}") as file:
        sentences += [str(done["sentence"]) for done in json.load(file)["files"]]
    with contextlib.suppress(OSError, ValueError), open(f"{persisted}/{S3_REPORT}") as file:
        sentences += file.read().splitlines()
    return sentences


class Keeper:
    """Looks again and again, and copies what can be copied."""

    def __init__(self, persisted: str, kept: str) -> None:
        self.persisted = persisted
        self.kept = kept
        self.seen: dict[str, Signature] = {}
        self.unreadable: dict[str, Signature] = {}
        self.changed_since: dict[str, float] = {}
        self.databases: dict[str, float] = {}

    def age(self) -> float:
        """Seconds for which the oldest change has not been kept."""
        since = list(self.changed_since.values())
        return time.monotonic() - min(since) if since else 0.0

    def look(self) -> None:
        names = list(statefiles.find(self.persisted))
        trouble = None
        for name in names:
            try:
                self.look_at(name)
            except FileNotFoundError:
                # A service that was switched off, or another format: LocalStack has removed it meanwhile.
                pass
            except OSError as error:
                trouble = error
        self.forget(names)
        if trouble:
            raise trouble

    def look_at(self, name: str) -> None:
        path, now = f"{self.persisted}/{name}", signature(f"{self.persisted}/{name}")
        before, self.seen[name] = self.seen.get(name), now
        if self.is_kept(name, now):
            self.changed_since.pop(name, None)
            return
        if not is_live_database(name):
            self.changed_since.setdefault(name, time.monotonic())
        elif not self.is_due(name, now):
            return
        # While it is being written, it changes between two looks or has its journal beside it.
        if now != before or now == self.unreadable.get(name) or sidecars(path):
            return
        try:
            self.keep(name, now)
        except Damaged as error:
            self.unreadable[name] = now
            complain(f"{name} cannot be copied: {error}")

    def is_kept(self, name: str, now: Signature) -> bool:
        try:
            size, time_ns, _ = signature(f"{self.kept}/{name}")
            return (size, time_ns) == now[:2]
        except FileNotFoundError:
            return False

    def is_due(self, name: str, now: Signature) -> bool:
        last = self.databases.get(name, -float("inf"))
        return now[0] <= MOST_DATABASE_BYTES and time.monotonic() - last >= DATABASE_SECONDS

    def keep(self, name: str, now: Signature) -> None:
        path, copy = f"{self.persisted}/{name}", f"{self.kept}/{name}"
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with unfinished(copy) as new:
            shutil.copyfile(path, new)
            # Before the check, which takes longer than the time between two saves where much is saved.
            if signature(path) != now:
                return
            statefiles.check(new, name)
            finish(new, copy, now[1])
        self.changed_since.pop(name, None)
        self.databases[name] = time.monotonic()

    def forget(self, names: list[str]) -> None:
        for name in self.changed_since.keys() - names:
            del self.changed_since[name]
        # Nothing at all is no state, but a volume that is not there.
        for name in set(statefiles.find(self.kept)) - set(names) if names else ():
            os.remove(f"{self.kept}/{name}")


@contextlib.contextmanager
def unfinished(path: str) -> Iterator[str]:
    """A name beside the file, for what is to replace it. Goes if it was not used."""
    folder, name = os.path.split(path)
    new = f"{folder}/{UNFINISHED}{name}"
    try:
        yield new
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)


def finish(new: str, path: str, time_ns: int) -> None:
    """The new file takes the place of the other, whole or not at all, whatever happens to the node."""
    os.utime(new, ns=(time_ns, time_ns))
    sync(new)
    os.replace(new, path)
    sync(os.path.dirname(path))


def sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def attempt(what: str) -> Iterator[None]:
    """No error leaves it: the start goes on."""
    try:
        yield
    except Exception as error:
        say(f"{what}: {error}")


def say(sentence: str) -> None:
    print(sentence, flush=True)


def complain(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["mend"]:
        sys.exit("keep.py: the only command is `mend`")
    mend(Folders.of(os.environ))
