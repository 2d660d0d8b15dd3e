"""Signed notes: a text and the Ed25519 signature below it, as C2SP's signed-note and checkpoint formats have them.

    <text, ends in a line break>
    <empty line>
    — <key name> <base64 of key id (4 bytes) and signature (64 bytes)>

The key id is the first of SHA-256(name LF 01 public key); a verifier key is written `name+id+base64(01 public key)`.
"""

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from storage.durable import storage_error, write_all
from storage.errors import Rejected
from storage.seeds.errors import BadSignature

MAX_NOTE = 64 << 10
"""Bytes of a note; ours have about 1,000."""
MAX_KEY_FILE = 4096
_ED25519 = b"\x01"
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9./_-]{0,99}", re.ASCII)
_DASH = "\u2014"
_HEAD = "limosa-key "


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """Whose signature it is."""

    name: str
    public: bytes
    """32 bytes."""

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode("ascii") + b"\n" + _ED25519 + self.public).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """What two people read to each other: SHA-256 of the public key, in groups."""
        digits = hashlib.sha256(self.public).hexdigest()[:32]
        return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode('ascii')}"

    @classmethod
    def parse(cls, text: str) -> "VerifyingKey":
        """The key of `str(key)`. Raises ValueError."""
        name, _, rest = text.strip().partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("not a verifier key") from None
        key = cls(name=name, public=raw[1:])
        if _KEY_NAME.fullmatch(name) is None or raw[:1] != _ED25519 or len(raw) != 33 or identifier != key.id.hex():
            raise ValueError("not a verifier key")
        return key


class SigningKey:
    """The operator's private key; its file never lies on a device."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        if _KEY_NAME.fullmatch(name) is None:
            raise ValueError("a key's name is of lower-case letters, digits and . / _ -")
        self._private = private
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = VerifyingKey(name=name, public=public)

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """The key that `save` wrote.

        Raises
        ------
        Rejected
            It cannot be read, others can read it too, or it is none of ours.
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(MAX_KEY_FILE)
        except OSError as error:
            raise Rejected(error.strerror or "failed", operation="read key", place=path.name) from None
        if mode & 0o077:
            raise Rejected("others can read it too: chmod 600, or make another", operation="read key", place=path.name)
        head, _, pem = raw.partition(b"\n")
        try:
            private = load_pem_private_key(pem, password=None)
            name = head.decode("ascii").removeprefix(_HEAD)
            if not isinstance(private, Ed25519PrivateKey) or not head.startswith(_HEAD.encode()):
                raise ValueError
            return cls(name, private)
        except (ValueError, TypeError):
            raise Rejected("no key of `limosa seed key`", operation="read key", place=path.name) from None

    def save(self, path: Path) -> None:
        """A new file that only this user reads holds the key, durable. Raises `Rejected` where there is one."""
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            what = "there is one, and a key is never replaced: use it, or name another file"
            raise Rejected(what, operation="write key", place=path.name) from None
        except OSError as error:
            raise storage_error(error, "write key", path.name) from None
        try:
            write_all(descriptor, f"{_HEAD}{self.verifier.name}\n".encode("ascii") + pem)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sign(self, text: str) -> str:
        """The note: the text, an empty line and the signature."""
        if not text.endswith("\n") or "\n\n" in text:
            raise ValueError("a note's text ends in a line break and has no empty line")
        signature = self._private.sign(text.encode("utf-8"))
        encoded = base64.b64encode(self.verifier.id + signature).decode("ascii")
        return f"{text}\n{_DASH} {self.verifier.name} {encoded}\n"


def text_of(note: str) -> str:
    """The text of a note, whoever signed it. Raises `BadSignature` for what is no note."""
    text, separator, _ = note.rpartition("\n\n")
    if not separator or len(note) > MAX_NOTE:
        raise BadSignature("not a signed note")
    return text + "\n"


def open_note(note: str, key: VerifyingKey) -> str:
    """The text that `key` signed.

    Raises
    ------
    BadSignature
        The note is none, has no signature of this key, or the signature does not hold.
    """
    text = text_of(note)
    for line in note[len(text) + 1 :].splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != _DASH or name != key.name:
            continue
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if raw[:4] != key.id or len(raw) != 68:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(raw[4:], text.encode("utf-8"))
        except InvalidSignature:
            raise BadSignature("the signature does not hold: the text was changed") from None
        return text
    raise BadSignature("no signature of this key")
