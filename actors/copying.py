"""Reading instances back from a destination, and holding one with random access."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from storage.packs.model import Container, Member, PackId, Receipt
from storage.packs.reader import PackReader
from storage.packs.volumes import pack_reader
from storage.sinks.protocol import ObjectReader
from storage.sinks.service import ServiceReader
from storage.spool import LandingPlace


def reader_of(
    objects: ObjectReader, pack: PackId, receipt: Receipt, facts: Callable[[], Iterable[InstanceFacts]]
) -> PackReader:
    """What reads the delivery back. `facts` are the ledger's instances, asked for where it is the only index."""
    if receipt.container is Container.SERVICE:
        return ServiceReader(objects, pack, receipt.key, tuple(facts()))
    return pack_reader(objects, pack, receipt)


def instances(reader: PackReader, without: Collection[str] = ()) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Every instance of a pack except those `without`, in the order of the pack; one request brings a whole pack."""
    return one_by_one(reader, without) if without else reader.walk()


def one_by_one(reader: PackReader, without: Collection[str]) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Like `instances`, each by a request of its own: one that is damaged leaves the others readable."""
    for member in reader.index().members:
        if member.facts.sop_uid not in without:
            yield member, reader.open(member)


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
