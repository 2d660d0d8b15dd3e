"""What Limosa knows for certain about one instance: the currency between receiver, writer and ledger."""

from dataclasses import dataclass

from imaging.uid import Uid

UNSURE = "?"
"""In place of a Modality that is no term of PS3.3, or that nobody looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoercedValue:
    """One value that one rule changed; the values as encoded, only where the dataset does not keep its originals."""

    rule: str
    """Name and version."""
    tag: int
    before: bytes | None = None
    """None: absent, or kept in the dataset."""
    after: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """Identity, sizes and digests of one instance; digests are raw 32-byte BLAKE3 values."""

    study_uid: Uid
    series_uid: Uid
    sop_uid: Uid
    sop_class: Uid
    transfer_syntax: Uid
    raw_size: int
    """Bytes of the dataset as received, without file meta."""
    sto_size: int
    """Bytes of the Part-10 file as written."""
    raw1: bytes
    """Digest of the dataset as received plus its transfer syntax: what the source sent."""
    sto1: bytes
    """Digest of the Part-10 file as written: what a read-back must give."""
    pd1: bytes | None
    """Digest of the pixel value; None where the instance has no pixel data."""
    can1: bytes
    """Digest of the canonical header."""
    flags: tuple[str, ...] = ()
    """What was odd but harmless, e.g. PIXEL_LENGTH; bounded names, no values from the dataset."""
    coerced: tuple[CoercedValue, ...] = ()
    """What rules changed between reception and writing; known until the study is committed."""
    met: tuple[str, ...] = ()
    """Rules, as `Rule.label`, whose conditions it met; known as long."""
    acted: tuple[str, ...] = ()
    """Those among them, and decisions about the study, that changed a value of it, even if a later one changed it
    back."""
    modality: str = UNSURE
    """Modality (0008,0060) as received, if it is a term of PS3.3; empty where it is absent or blank."""
