"""Digests of bytes: what the source sent (RAW1) and what was written (STO1). All are BLAKE3, 32 bytes.

    RAW1 = BLAKE3( dataset bytes as received || 00 || transfer syntax UID in ASCII )
    STO1 = BLAKE3( every byte of the Part-10 file )

The dataset comes first in RAW1 because a receiver hashes while it receives. The last NUL of the input
separates the two, for a UID holds none: different inputs cannot run together.
"""

from collections.abc import Sequence

from blake3 import blake3

from imaging.octets import Octets, chunks


class Raw1:
    """RAW1 under construction: fed with the dataset in order, in pieces of 64 KiB or more where speed matters."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """The next bytes of the dataset are taken in."""
        self._hash.update(piece)

    def digest(self, transfer_syntax: str) -> bytes:
        """RAW1 of what was fed so far; may be asked again after more was fed."""
        end = self._hash.copy()
        end.update(b"\0" + transfer_syntax.encode("ascii"))
        return end.digest()


def raw1(octets: Octets, dataset_offset: int, transfer_syntax: str) -> bytes:
    """RAW1 of the dataset that begins at `dataset_offset` and ends with the octets."""
    state = Raw1()
    for piece in chunks(octets, dataset_offset, octets.size):
        state.update(piece)
    return state.digest(transfer_syntax)


def sto1(octets: Octets) -> bytes:
    """STO1 of the whole file."""
    state = blake3()
    for piece in chunks(octets, 0, octets.size):
        state.update(piece)
    return state.digest()


def sto1_of_pieces(pieces: Sequence[bytes | bytearray | memoryview]) -> bytes:
    """STO1 of a file that lies in pieces, as a header with edits spliced in does."""
    state = blake3()
    for piece in pieces:
        state.update(piece)
    return state.digest()
