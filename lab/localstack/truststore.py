"""Writes the certificates of a PEM bundle as the keystore that Java reads: truststore.py BUNDLE KEYSTORE

The package that would make it does so when it is installed, and here nothing is installed.
"""

import hashlib
import ssl
import struct
import sys

PASSWORD = "changeit"


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def entry(index: int, certificate: bytes) -> bytes:
    trusted = 2
    head = struct.pack(">I", trusted) + text(f"ca-{index}") + struct.pack(">Q", 0)
    return head + text("X.509") + struct.pack(">I", len(certificate)) + certificate


def keystore(certificates: list[bytes]) -> bytes:
    magic, version = 0xFEEDFEED, 2
    body = struct.pack(">III", magic, version, len(certificates))
    body += b"".join(entry(index, certificate) for index, certificate in enumerate(certificates))
    # Java's keystores end in a digest that begins with the password and these words.
    return body + hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


bundle, target = sys.argv[1:]
authorities = ssl.create_default_context(cafile=bundle).get_ca_certs(binary_form=True)
with open(target, "wb") as file:
    file.write(keystore(authorities))
