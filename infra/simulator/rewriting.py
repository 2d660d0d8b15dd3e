"""Other bytes for the same image: what archives do that make up UIDs, or decode and encode again on the way out."""

import hashlib
import zlib

DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def twin_uid(uid: str, salt: str) -> str:
    """Another UID of the same length under the same first two components, always the same one for a salt.

    The same length, so that it can take the place of `uid` in a dataset without moving anything.
    """
    kept = ".".join(uid.split(".")[:2])
    digits = hashlib.shake_128(f"{salt}:{uid}".encode()).digest(len(uid))
    # 1 to 9 only: a component must not begin with a zero.
    return kept + "".join(
        letter if letter == "." else str(1 + digits[index] % 9) for index, letter in enumerate(uid[len(kept) :])
    )


def with_uid(dataset: bytes, transfer_syntax: str, old: str, new: str) -> bytes:
    """The dataset with every mention of one UID replaced by another of the same length."""
    if transfer_syntax == DEFLATED:
        return _deflate(_inflate(dataset).replace(old.encode(), new.encode()))
    return dataset.replace(old.encode(), new.encode())


def with_another_pixel(dataset: bytes, transfer_syntax: str, change: int) -> bytes:
    """The dataset with its last pixel byte changed; as it was when it has no pixels."""
    if transfer_syntax == DEFLATED:
        return _deflate(with_another_pixel(_inflate(dataset), "", change))
    if not any(tag in dataset for tag in _PIXEL_TAGS):
        return dataset
    # An encapsulated stream ends in an item that must stay what it is; before it lies the last fragment's last byte.
    place = len(dataset) - (9 if dataset.endswith(_SEQUENCE_END) else 1)
    return dataset[:place] + bytes([dataset[place] ^ (change & 0xFF)]) + dataset[place + 1 :]


def _inflate(octets: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(octets)


def _deflate(octets: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(octets) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
