"""The files that hold LocalStack's state, and whether they can be read. Imported by keep.py.

A file is read piece by piece, in some 15 MiB of memory whatever its size: json.load takes three to seven times the
file, and the container is small. Nothing is ever unpickled.
"""

import codecs
import contextlib
import os
import pickletools
import re
from collections.abc import Iterator

# Also the size of piece that costs the least time and memory (measured: 100 MB in 2 to 5 s).
PIECE = 1 << 18
# What is open at a time in a sane JSON file: its brackets and the start of one word.
MOST_OPEN = 1 << 20

ENDINGS = (".json", ".pkl", ".db")

# Ours: a file that is being written. The dot keeps it out of every list of state files.
UNFINISHED = ".homecloud-"

Signature = tuple[int, int, int]


class Damaged(Exception):
    """The file was read and is not whole. The text ends a sentence that begins with its name."""


def signature(path: str) -> Signature:
    """Changes with every write to the file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def find(folder: str, unfinished: bool = False) -> Iterator[str]:
    """State files as SERVICE/FILE or SERVICE/assets/FILE, or what is left of ours. Not people's objects in S3."""
    for service in subfolders(folder):
        for part in (service, f"{service}/assets"):
            if part == "s3/assets":
                continue
            for name in files(f"{folder}/{part}"):
                if name.startswith(UNFINISHED) if unfinished else not name.startswith(".") and name.endswith(ENDINGS):
                    yield f"{part}/{name}"


def subfolders(folder: str) -> list[str]:
    # The first start finds no folder.
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return []


def files(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    return []


def is_live_database(name: str) -> bool:
    """DynamoDB writes to it with transactions, where the files under assets are copies that each save writes anew."""
    return name.endswith(".db") and name.count("/") == 1


def sidecars(path: str) -> list[str]:
    """What SQLite has beside a database while it writes. Left behind, it belongs to this database and to no other."""
    return [path + end for end in ("-journal", "-wal", "-shm") if os.path.exists(path + end)]


def check(path: str, name: str) -> None:
    """Raises Damaged; OSError where the file could not be read."""
    if os.stat(path).st_size == 0:
        raise Damaged("it is empty")
    if name.endswith(".json"):
        check_json(path)
    elif name.endswith(".pkl"):
        check_pickle(path)
    else:
        check_database(path)


def check_json(path: str) -> None:
    text = JsonText()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            text.feed(piece)
    text.end()


def check_pickle(path: str) -> None:
    with open(path, "rb") as file:
        # localstack-persist's own mark of the kind of pickle.
        file.read(1)
        try:
            for _ in pickletools.genops(file):
                pass
        except (ValueError, MemoryError, OverflowError) as error:
            raise Damaged("it ends too early, or is no pickle") from error
        if file.read(1):
            raise Damaged("it goes on after its end")


def check_database(path: str) -> None:
    # Loaded where it is needed only: the watch rests in a few MiB.
    import sqlite3

    # What a transaction that was cut has left is taken back by SQLite when the database is opened for writing, as
    # DynamoDB would. Without it nothing is written.
    mode = "mode=rw" if sidecars(path) else "immutable=1"
    address = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{address}?{mode}", uri=True)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        raise OSError(f"SQLite says: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"SQLite says: {error}") from error
    if found != ("ok",):
        raise Damaged("SQLite finds pages that do not fit together")


# One character for each kind of thing that has been read whole. None of them may stand in a JSON text.
STRING, VALUE, MEMBERS, ITEMS, QUOTED = "\1", "\2", "\3", "\4", "\5"
REDUCTIONS = [
    (re.compile(f"{STRING}:[{STRING}{VALUE}]"), MEMBERS),
    (re.compile(f"{MEMBERS}(?:,{MEMBERS})+"), MEMBERS),
    (re.compile(f"[{STRING}{VALUE}{ITEMS}](?:,[{STRING}{VALUE}{ITEMS}])+"), ITEMS),
    (re.compile(rf"\{{{MEMBERS}?\}}|\[[{STRING}{VALUE}{ITEMS}]?\]"), VALUE),
]
# A string up to its end or that of the text. It always matches, so that nothing is tried twice.
QUOTE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*("|\\?\Z)', re.DOTALL)
WORD = re.compile(
    r"(?<![-+.\w])(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|NaN|-?Infinity)(?![-+.\w])", re.ASCII
)
WORD_CHARACTERS = "+-.0123456789EINaefilnrstuy"
NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class JsonText:
    """Puts one character for whatever has been read whole, from the inside out: of a whole text one value remains."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.read = ""
        self.rest = ""

    def feed(self, piece: bytes, last: bool = False) -> None:
        text = self.read_strings(self.rest + self.decode(piece, last), last)
        self.read += "".join(WORD.sub(VALUE, text).split())
        length = -1
        while length != (length := len(self.read)):
            for pattern, character in REDUCTIONS:
                self.read = pattern.sub(character, self.read)
        if len(self.read) + len(self.rest) > MOST_OPEN:
            raise Damaged("it is no JSON")

    def end(self) -> None:
        self.feed(b"", last=True)
        if self.rest or self.read not in (STRING, VALUE):
            raise Damaged("it ends too early, or is no JSON")

    def decode(self, piece: bytes, last: bool) -> str:
        try:
            text = self.decoder.decode(piece, last)
        except UnicodeDecodeError as error:
            raise Damaged("it holds bytes that are no text") from error
        # Zeros are what a power cut leaves of a file that was being written.
        if NO_TEXT.search(text):
            raise Damaged("it holds bytes that are no text")
        return text

    def read_strings(self, text: str, last: bool) -> str:
        """The text with its strings replaced. What is cut at its end is the rest, read again with the next piece."""
        text = QUOTE.sub(f"{STRING}\\1", text).replace(f'{STRING}"', QUOTED)
        if STRING in text:
            # What was read of this string is forgotten.
            text, _, backslash = text.partition(STRING)
            self.rest = f'"{backslash}'
        else:
            whole = text if last else text.rstrip(WORD_CHARACTERS)
            text, self.rest = whole, text[len(whole) :]
        return text.replace(QUOTED, STRING)
