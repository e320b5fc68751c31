"""Metrics in Prometheus' text form, and the counters behind some of them. Imported by watch.py."""

import contextlib
import os
from collections.abc import Iterable

# A counter's file is emptied before it fills the memory volume.
MOST_COUNTER_BYTES = 1 << 20

Labels = dict[str, str]
Sample = tuple[Labels, float]


def metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    full_name = f"homecloud_localstack_{name}"
    lines = [f"# HELP {full_name} {text}", f"# TYPE {full_name} {kind}"]
    lines += [f"{full_name}{labels_text(labels)} {value:.15g}" for labels, value in samples]
    return "\n".join(lines)


def gauge(name: str, text: str, value: float) -> str:
    return metric(name, "gauge", text, [({}, value)])


def labels_text(labels: Labels) -> str:
    escaped = [f'{name}="{escape(value)}"' for name, value in labels.items()]
    return f"{{{','.join(escaped)}}}" if escaped else ""


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Counters:
    """Files to which the gate adds an empty line for each event: the size is the count."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def count(self, name: str) -> int:
        path, base_path = f"{self.folder}/{name}", f"{self.folder}/{name}.base"
        size = os.path.getsize(path) if os.path.exists(path) else 0
        base = read_count(base_path)
        if size <= MOST_COUNTER_BYTES:
            return base + size
        # In this order a kill in between looks like a restart, which Prometheus knows, and not like twice the events.
        os.truncate(path, 0)
        with open(f"{base_path}.new", "w") as file:
            file.write(str(base + size))
        os.replace(f"{base_path}.new", base_path)
        return base + size


def read_count(path: str) -> int:
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:
        return int(file.read())
    return 0
