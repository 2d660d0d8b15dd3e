"""Moving one instance's bytes from a destination into something with random access."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from imaging.octets import Octets
from storage.spool import LandingPlace


@contextmanager
def landed(place: LandingPlace, pieces: Iterable[bytes]) -> Iterator[Octets]:
    """All of `pieces`, in memory or in the spool, until the block ends.

    Raises
    ------
    IntegrityError
        From the iteration itself: the bytes are not those of STO1.
    """
    landing = place.open()
    try:
        for piece in pieces:
            landing.write(piece)
        yield landing.octets()
    finally:
        landing.release()
