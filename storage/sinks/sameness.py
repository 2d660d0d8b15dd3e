"""Whether what a service holds is what we would send, although it writes file meta and lengths its own way."""

import tempfile
from collections.abc import Iterable

from blake3 import blake3

from imaging.errors import Refused
from imaging.facts import InstanceFacts
from imaging.instance import describe
from imaging.octets import Octets, chunks
from imaging.part10 import split_part10
from storage.spool import FileOctets

SAME_INSTANCE = ("pd1", "can1", "series_uid", "sop_class", "transfer_syntax")
"""What must be equal at a service: pixels and every value of the header, in the transfer syntax they were sent in."""


def same_instance(facts: InstanceFacts, part10: Octets, theirs: Iterable[bytes]) -> bool:
    """Whether the service's file, as it comes, is the instance of these facts and bytes."""
    found = held_instance(facts, part10, theirs)
    return found is not None and is_same(facts, found)


def is_same(facts: InstanceFacts, found: InstanceFacts) -> bool:
    """Whether both are one instance with one content."""
    return all(getattr(found, name) == getattr(facts, name) for name in SAME_INSTANCE)


def held_instance(facts: InstanceFacts, part10: Octets, theirs: Iterable[bytes]) -> InstanceFacts | None:
    """What the service's file is, RAW1 taken over from `facts`; None where it is no DICOM instance."""
    # Without a name, so that nothing of it is left however this ends.
    with tempfile.TemporaryFile() as file:
        for piece in theirs:
            file.write(piece)
        file.flush()
        found = FileOctets(file.fileno(), file.tell())
        try:
            if _dataset(found) == _dataset(part10):
                return facts
            envelope = split_part10(found)
            return describe(found, envelope.dataset_offset, envelope.transfer_syntax, facts.raw1)
        except Refused:
            return None


def _dataset(octets: Octets) -> tuple[str, bytes]:
    """Transfer syntax and a digest of the dataset. Raises `Refused`."""
    envelope = split_part10(octets)
    digest = blake3()
    for piece in chunks(octets, envelope.dataset_offset, octets.size):
        digest.update(piece)
    return envelope.transfer_syntax, digest.digest()
