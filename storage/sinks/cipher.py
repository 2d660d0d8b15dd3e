"""Packs encrypted where they lie: AES-256-GCM over chunks of 64 KiB, each with a nonce of its own.

    header   "LIMOSA-CIPHER-1" LF, key id (16 bytes), salt (32 bytes)
    chunk    nonce (12 bytes), ciphertext of at most 65,536 bytes, tag (16 bytes)

The key of a file is HKDF-SHA256(disk key, salt, info "limosa pack"); the chunk's number (u64) is its associated data.
Nonces are random, so a chunk that a resumed writer writes again never meets an old one; a file of one key may have
2^32 of them (NIST SP 800-38D section 8.3), 256 TiB. That the file is whole is the seal's to say, not the cipher's.

A chunk that does not hold reads as zeros: whoever reads a pack compares every instance with its digest and so finds
which ones are hurt, where an error would name the whole pack.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.durable import storage_error, sync_folder, write_all
from storage.errors import Rejected

MAGIC = b"LIMOSA-CIPHER-1\n"
_ID, _SALT, _NONCE, _TAG = 16, 32, 12, 16
HEADER = len(MAGIC) + _ID + _SALT
CHUNK = 1 << 16
STORED_CHUNK = _NONCE + CHUNK + _TAG
AT_ONCE = 16
"""Chunks read in one go: a MiB, as everywhere."""
_KEY = re.compile(r"limosa-disk-key-1 ([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DiskKey:
    """The key of a shipment's disks; it never lies on one."""

    secret: bytes
    """32 bytes."""

    @classmethod
    def generate(cls) -> "DiskKey":
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> "DiskKey":
        """The key of `str(key)`. Raises `Rejected`, without a word of the text."""
        found = _KEY.fullmatch(text.strip())
        if found is None:
            raise Rejected("no key of `limosa seed disk-key`", operation="read key", place="disk key")
        return cls(bytes.fromhex(found[1]))

    @property
    def id(self) -> str:
        """Tells keys apart and tells nothing of the key: 32 hexadecimal digits, on the device's label."""
        return hashlib.sha256(b"limosa disk key id" + self.secret).hexdigest()[: 2 * _ID]

    def save(self, path: Path) -> None:
        """A new file that only this user reads holds the key, durable. Raises `Rejected` where there is one."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            what = "there is one, and a key is never replaced: use it, or name another file"
            raise Rejected(what, operation="write key", place=path.name) from None
        except OSError as error:
            raise storage_error(error, "write key", path.name) from None
        try:
            write_all(descriptor, f"limosa-disk-key-1 {self.secret.hex()}\n".encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)

    def __repr__(self) -> str:
        return f"DiskKey({self.id})"

    def of_file(self, salt: bytes) -> AESGCM:
        """The cipher of the file with this salt."""
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"limosa pack").derive(self.secret))


def plain_size(stored: int) -> int:
    """Bytes of the pack in a file of `stored` bytes."""
    full, rest = divmod(max(0, stored - HEADER), STORED_CHUNK)
    return full * CHUNK + max(0, rest - _NONCE - _TAG)


def _stored_size(plain: int) -> int:
    full, rest = divmod(plain, CHUNK)
    return HEADER + full * STORED_CHUNK + (_NONCE + rest + _TAG if rest else 0)


class CipherWriter:
    """Appends to an encrypted file; the position is its own."""

    def __init__(self, descriptor: int, key: DiskKey, salt: bytes, end: int, tail: bytes) -> None:
        self._descriptor = descriptor
        self._cipher = key.of_file(salt)
        self._number = end // CHUNK
        self._tail = bytearray(tail)
        """Bytes of the chunk that is not full yet."""

    @classmethod
    def fresh(cls, descriptor: int, key: DiskKey) -> "CipherWriter":
        salt = secrets.token_bytes(_SALT)
        write_all(descriptor, MAGIC + bytes.fromhex(key.id) + salt)
        return cls(descriptor, key, salt, 0, b"")

    @classmethod
    def resumed(cls, descriptor: int, key: DiskKey, end: int) -> "CipherWriter | None":
        """A writer behind `end` bytes of the pack; None where the file does not hold them any more."""
        reader = CipherReader(descriptor, key)
        start = end - end % CHUNK
        tail = reader.chunk(start // CHUNK, end - start) if end > start else b""
        if reader.size < end or tail is None:
            return None
        at = HEADER + start // CHUNK * STORED_CHUNK
        # The incomplete chunk stays as it is until it is written again: until then it is what was committed.
        os.ftruncate(descriptor, min(os.fstat(descriptor).st_size, at + (STORED_CHUNK if tail else 0)))
        os.lseek(descriptor, at, os.SEEK_SET)
        return cls(descriptor, key, reader.salt, end, tail)

    def write(self, piece: bytes | memoryview) -> None:
        """The piece is behind what was written; its last, incomplete chunk only once it was synced."""
        self._tail += piece
        full = len(self._tail) // CHUNK
        if full:
            with memoryview(self._tail) as view:
                sealed = [self._sealed(self._number + n, view[n * CHUNK : (n + 1) * CHUNK]) for n in range(full)]
            write_all(self._descriptor, b"".join(sealed))
            self._number += full
            del self._tail[: full * CHUNK]

    def sync(self) -> None:
        """Everything is on the medium. The incomplete chunk will be written again, in its place, with what follows."""
        if self._tail:
            at = HEADER + self._number * STORED_CHUNK
            sealed = self._sealed(self._number, self._tail)
            write_all(self._descriptor, sealed)
            os.ftruncate(self._descriptor, at + len(sealed))
            os.lseek(self._descriptor, at, os.SEEK_SET)
        os.fsync(self._descriptor)

    def _sealed(self, number: int, plain: bytes | bytearray | memoryview) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, bytes(plain), number.to_bytes(8, "big"))


class CipherReader:
    """Random access to the pack in an encrypted file."""

    def __init__(self, descriptor: int, key: DiskKey) -> None:
        self._descriptor = descriptor
        self.size = plain_size(os.fstat(descriptor).st_size)
        head = os.pread(descriptor, HEADER, 0)
        self.salt = head[len(MAGIC) + _ID :].ljust(_SALT, b"\x00")
        self._cipher = key.of_file(self.salt)

    def chunk(self, number: int, least: int) -> bytes | None:
        """The first `least` bytes of a chunk; None where it does not hold."""
        raw = os.pread(self._descriptor, STORED_CHUNK, HEADER + number * STORED_CHUNK)
        plain = self._opened(number, raw)
        return None if plain is None or len(plain) < least else plain[:least]

    def read(self, start: int, length: int) -> memoryview:
        """Bytes [start, start + length), cut short only by the end; zeros for a chunk that does not hold."""
        return memoryview(b"".join(self.stream(start, length)))

    def stream(self, start: int, length: int, seen: Callable[[bytes], None] = lambda raw: None) -> Iterator[bytes]:
        """As `read`, in pieces of at most a MiB; `seen` is given what lies in the file for it, chunk by chunk."""
        stop = min(start + length, self.size)
        first = start // CHUNK
        while first * CHUNK < stop:
            count = min(AT_ONCE, -(-stop // CHUNK) - first)
            raw = os.pread(self._descriptor, count * STORED_CHUNK, HEADER + first * STORED_CHUNK)
            seen(raw)
            plain = b"".join(
                self._or_zeros(first + n, raw[n * STORED_CHUNK : (n + 1) * STORED_CHUNK]) for n in range(count)
            )
            base = first * CHUNK
            yield plain[max(0, start - base) : stop - base]
            first += count
        if stop == self.size:
            # Less than a chunk's nonce and tag, which is no part of the pack; but it is in the file.
            seen(os.pread(self._descriptor, CHUNK, _stored_size(self.size)))

    def _or_zeros(self, number: int, raw: bytes) -> bytes:
        plain = self._opened(number, raw)
        return bytes(max(0, len(raw) - _NONCE - _TAG)) if plain is None else plain

    def _opened(self, number: int, raw: bytes) -> bytes | None:
        if len(raw) <= _NONCE + _TAG:
            return None
        try:
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], number.to_bytes(8, "big"))
        except InvalidTag:
            return None
