"""How much the volume holds, and whether that is too much. Imported by watch.py."""

import os
import time
from dataclasses import dataclass

# A walk over many files takes long: three quarters of the time at least are a rest.
REST = 3
# Without a walk, while the disk's free space is the same to the byte.
MOST_SECONDS = 30


@dataclass(frozen=True)
class Limits:
    """Bytes."""

    limit: int
    reserve: int
    keep_free: int


@dataclass(frozen=True)
class Measurement:
    """Bytes, and how long the walk took."""

    volume: int
    free: int
    lambda_images: int
    seconds: float

    @property
    def used(self) -> int:
        return self.volume + self.lambda_images


class Meter:
    def __init__(self, volume: str, lambda_images_file: str, open_files: bool) -> None:
        self.volume = volume
        self.lambda_images_file = lambda_images_file
        self.open_files = open_files
        self.used = -1
        self.seconds = 0.0
        self.walked = 0.0
        self.free_before = 0

    def measure(self) -> Measurement:
        """Without a walk where nothing can have changed or the last one was not long ago. OSError: nothing is known."""
        free = free_bytes(self.volume)
        if self.is_due(free):
            self.walk(free)
        return Measurement(self.used, free, read_number(self.lambda_images_file), self.seconds)

    def is_due(self, free: int) -> bool:
        rested = time.monotonic() - self.walked
        wanted = free != self.free_before or rested >= MOST_SECONDS
        return self.used < 0 or (wanted and rested >= REST * self.seconds)

    def walk(self, free: int) -> None:
        began = time.monotonic()
        self.used = allocated(self.volume) + (unnamed(self.volume) if self.open_files else 0)
        self.walked = time.monotonic()
        self.seconds, self.free_before = self.walked - began, free


def allocated(volume: str) -> int:
    """As du counts: blocks, with folders, and each file once however many names it has."""
    total = os.stat(volume).st_blocks
    folders, linked = [volume], set()
    while folders:
        folder = folders.pop()
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # Gone meanwhile, or lost+found. LocalStack is the same user: it has nothing where this cannot look.
            if folder == volume:
                raise
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif status.st_nlink > 1:
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                total += status.st_blocks
    return total * 512


def unnamed(volume: str) -> int:
    """Open files that have no name, which a walk does not meet: in such LocalStack keeps the objects of S3, unless its
    edition gives it another place. Other containers' are seen where the pod shares its processes."""
    device, sizes = os.stat(volume).st_dev, {}
    for process in os.listdir("/proc"):
        try:
            names = os.listdir(f"/proc/{process}/fd") if process.isdecimal() else []
        except OSError:
            # Gone meanwhile, or root's.
            continue
        for name in names:
            try:
                status = os.stat(f"/proc/{process}/fd/{name}")
            except OSError:
                continue
            if status.st_nlink == 0 and status.st_dev == device:
                sizes[status.st_ino] = status.st_blocks
    return sum(sizes.values()) * 512


def free_bytes(volume: str) -> int:
    status = os.statvfs(volume)
    return status.f_bavail * status.f_frsize


def read_number(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def is_full(measured: Measurement, limits: Limits) -> bool:
    return measured.used >= limits.limit - limits.reserve or measured.free < limits.keep_free


def is_over(measured: Measurement, limits: Limits) -> bool:
    return measured.used >= limits.limit or measured.free < limits.keep_free / 2


def full_message(measured: Measurement, limits: Limits) -> str:
    remedy = "delete objects, messages, items or functions to go on"
    return f"LocalStack's storage is full: {reason(measured, limits)}; {remedy}"


def reason(measured: Measurement, limits: Limits) -> str:
    if measured.used < limits.limit - limits.reserve:
        return f"the node's disk has only {human(measured.free)} left"
    images = f"{human(measured.lambda_images)} of them by images of functions; " if measured.lambda_images else ""
    stop = f"writes stop {human(limits.reserve)} below the limit"
    return f"{human(measured.used)} of {human(limits.limit)} are used ({images}{stop})"


def human(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"
