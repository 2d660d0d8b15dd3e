"""Holds what was shipped against what is said to have arrived. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.seeding.evidence import Seen
from imaging.uid import Uid
from storage.seeds.receipt import PackState, ReceiptRow


class Verdict(StrEnum):
    """What is known of a pack, or of an instance, after the shipment."""

    ARRIVED = "arrived"
    MISSING = "missing"
    ALTERED = "altered"
    UNKNOWN = "unknown"
    """The document does not speak of it, or contradicts itself."""


class Proof(StrEnum):
    """What the evidence holds of a pack that has arrived, strongest first."""

    DIGEST = "digest"
    """Whoever received it compared every instance with its digest."""
    CRC64 = "crc64"
    """Its size, and the CRC-64/NVME over all its bytes."""
    SIZE = "size"
    """Something of its name and size lies there; of its bytes nothing is known."""
    NAME = "name"
    """Something of its name was stored."""


KIND_TOLD_BY = 8
"""Packs whose CRC-64 all differ before it is believed to be of another kind: so many are not altered one by one without
a single one that is whole, or that has another size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What is known of a pack before it is shipped."""

    size: int
    crc64: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackVerdict:
    """One pack after the shipment."""

    verdict: Verdict
    proof: Proof | None = None
    """Of one that arrived."""
    what: str = ""
    instances: tuple[Uid, ...] = ()
    """Those that are known to be damaged; empty: nothing is known of single ones."""


@dataclass(slots=True)
class Account:
    """Every pack with its verdict, and what nobody shipped."""

    packs: dict[str, PackVerdict] = field(default_factory=dict)
    """By path from `studies/` on."""
    strangers: list[str] = field(default_factory=list)
    note: str = ""
    """What a person should know of the evidence itself."""


def by_receipt(shipped: Mapping[str, Shipped], rows: Iterable[tuple[str, ReceiptRow]]) -> Account:
    """The account of a receipt; its rows come with the path of their pack."""
    account = Account()
    for path, row in rows:
        known = shipped.get(path)
        if known is None or path in account.packs:
            account.strangers.append(path)
            continue
        account.packs[path] = _of_row(known, row)
    for path in shipped.keys() - account.packs.keys():
        account.packs[path] = PackVerdict(verdict=Verdict.MISSING, what="not in the receipt")
    return account


def by_objects(
    shipped: Mapping[str, Shipped], seen: Iterable[Seen], *, silence: Verdict, crc64_is_ours: bool
) -> Account:
    """The account of a carrier's documents; `silence` is what it means that they do not speak of a pack, and
    `crc64_is_ours` that their CRC-64 is known to be the one that packs have."""
    account = Account()
    told: dict[str, list[Seen]] = {}
    for each in seen:
        if each.path in shipped:
            told.setdefault(each.path, []).append(each)
        elif not each.failed:
            account.strangers.append(each.path)
    if not crc64_is_ours and _of_another_kind(shipped, told):
        account.note = (
            f"none of {KIND_TOLD_BY} CRC-64 or more agrees with ours, all sizes do: it is another polynomial, and only"
            " sizes were compared"
        )
        told = {path: [_without_crc(each) for each in found] for path, found in told.items()}
    for path, known in shipped.items():
        account.packs[path] = _of_objects(known, told.get(path, []), silence)
    return account


def _of_row(known: Shipped, row: ReceiptRow) -> PackVerdict:
    if row.size != known.size or known.crc64 not in (None, row.crc64):
        return PackVerdict(verdict=Verdict.ALTERED, what="the receipt names other bytes")
    match row.state:
        case PackState.ARRIVED:
            return PackVerdict(verdict=Verdict.ARRIVED, proof=Proof.DIGEST)
        case PackState.MISSING:
            return PackVerdict(verdict=Verdict.MISSING, what=row.what)
        case PackState.DAMAGED:
            return PackVerdict(verdict=Verdict.ALTERED, what=row.what, instances=row.instances)


def _of_objects(known: Shipped, found: list[Seen], silence: Verdict) -> PackVerdict:
    if not found:
        what = "the documents do not speak of it" if silence is Verdict.UNKNOWN else "is not there"
        return PackVerdict(verdict=silence, what=what)
    failures = [each for each in found if each.failed]
    successes = [each for each in found if not each.failed]
    if failures and successes and any(each.size is None for each in successes):
        return PackVerdict(verdict=Verdict.UNKNOWN, what="the documents contradict each other")
    if failures:
        return PackVerdict(verdict=Verdict.MISSING, what=failures[0].failed)
    for each in successes:
        if each.size not in (None, known.size):
            return PackVerdict(verdict=Verdict.ALTERED, what=f"has {each.size} bytes instead of {known.size}")
        if None not in (each.crc64, known.crc64) and each.crc64 != known.crc64:
            return PackVerdict(verdict=Verdict.ALTERED, what="has another CRC-64")
    return PackVerdict(verdict=Verdict.ARRIVED, proof=_proof(known, successes))


def _proof(known: Shipped, successes: list[Seen]) -> Proof:
    """The strongest that one of them gives; none contradicts what is known."""
    if known.crc64 is not None and any(each.crc64 is not None for each in successes):
        return Proof.CRC64
    return Proof.SIZE if any(each.size is not None for each in successes) else Proof.NAME


def _of_another_kind(shipped: Mapping[str, Shipped], told: Mapping[str, list[Seen]]) -> bool:
    """Azure does not say which CRC-64 a bill of materials has. One that is never ours, of many packs whose sizes are,
    is another; of a few packs it is what it looks like."""
    packs = 0
    for path, found in told.items():
        known = shipped[path]
        told_of = [each for each in found if each.crc64 is not None and known.crc64 is not None]
        if any(each.crc64 == known.crc64 or each.size != known.size for each in told_of):
            return False
        packs += bool(told_of)
    return packs >= KIND_TOLD_BY


def _without_crc(seen: Seen) -> Seen:
    return Seen(path=seen.path, failed=seen.failed, size=seen.size)
