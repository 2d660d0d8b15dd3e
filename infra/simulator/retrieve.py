"""What one C-MOVE or C-GET will send: the instances it selects, bent by the faults in force. Pure."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.simulator import attributes as at
from infra.simulator.archive import Archive, Instance
from infra.simulator.content import Content, HeldContent
from infra.simulator.faults import Faults, Order, Uids
from infra.simulator.query import Level, Mismatch, Query
from infra.simulator.rewriting import twin_uid, with_another_pixel, with_uid
from infra.simulator.store import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One C-STORE to come."""

    pair: Pair
    sop_uid: str
    stored: Instance | None
    """Set when the stored bytes go out unchanged and may therefore come from the cache."""
    content: Content
    counted: bool = True
    """Part of what was asked for, and of the counts in the responses."""


def select(archive: Archive, query: Query) -> tuple[Instance, ...]:
    """The instances a C-MOVE identifier names, in archive order. Raises `Mismatch` without the unique key."""
    studies, series, images = (query.uids(tag) for tag in (at.STUDY_UID, at.SERIES_UID, at.SOP_UID))
    if not studies or (query.level is Level.SERIES and not series) or (query.level is Level.IMAGE and not images):
        raise Mismatch
    found: Iterable[Instance] = (instance for uid in studies for instance in archive.study(uid))
    if query.level is not Level.STUDY and series:
        wanted_series = frozenset(series)
        found = (instance for instance in found if instance.series_uid in wanted_series)
    if query.level is Level.IMAGE:
        wanted = frozenset(images)
        found = (instance for instance in found if instance.sop_uid in wanted)
    return tuple(found)


def lost(archive: Archive, asked: Sequence[Instance], faults: Faults, retrieve: int) -> frozenset[str]:
    """The SOP Instance UIDs this retrieve silently leaves out; `retrieve` counts from 1 for each study.

    The ones a study loses are the same at every level and every time: its last by UID.
    """
    gone = set(faults.lost_sop_uids)
    if faults.lost_per_study and (faults.lost_moves is None or retrieve <= faults.lost_moves):
        for study_uid in {instance.study_uid for instance in asked}:
            uids = sorted(instance.sop_uid for instance in archive.study(study_uid))
            gone.update(uids[-faults.lost_per_study :])
    return frozenset(gone)


def parcels(archive: Archive, asked: Sequence[Instance], faults: Faults, retrieve: int) -> list[Parcel]:
    """Everything this retrieve sends, in order. The lost ones are not among them."""
    gone = lost(archive, asked, faults, retrieve)
    sent = [instance for instance in asked if instance.sop_uid not in gone]
    if faults.order is Order.REVERSED:
        sent.reverse()
    elif faults.order is Order.SHUFFLED:
        random.Random(f"{retrieve}:{len(sent)}").shuffle(sent)  # noqa: S311 - repeatable on purpose
    planned = [_parcel(instance, faults, retrieve) for instance in sent]
    planned = [again for parcel in planned for again in [parcel] + [_uncounted(parcel)] * faults.repeated_stores]
    if asked:
        planned += [_uncounted(_parcel(stray, faults, retrieve)) for stray in _strays(archive, asked, faults.unasked)]
        pair = (asked[0].sop_class, asked[0].transfer_syntax)
        for number, octets in enumerate(faults.malformed):
            uid = twin_uid(asked[0].sop_uid, f"malformed {number}")
            planned.append(Parcel(pair=pair, sop_uid=uid, stored=None, content=HeldContent(octets), counted=False))
    return planned


def _parcel(instance: Instance, faults: Faults, retrieve: int) -> Parcel:
    pair = (instance.sop_class, instance.transfer_syntax)
    if faults.uids is Uids.STORED and not faults.unstable_bytes:
        return Parcel(pair=pair, sop_uid=instance.sop_uid, stored=instance, content=instance.content)
    dataset, uid = instance.dataset(), instance.sop_uid
    if faults.uids is not Uids.STORED:
        uid = twin_uid(uid, "rewritten" if faults.uids is Uids.REWRITTEN else f"fresh {retrieve}")
        dataset = with_uid(dataset, instance.transfer_syntax, instance.sop_uid, uid)
    if faults.unstable_bytes:
        dataset = with_another_pixel(dataset, instance.transfer_syntax, retrieve)
    return Parcel(pair=pair, sop_uid=uid, stored=None, content=HeldContent(dataset))


def _uncounted(parcel: Parcel) -> Parcel:
    return Parcel(pair=parcel.pair, sop_uid=parcel.sop_uid, stored=parcel.stored, content=parcel.content, counted=False)


def _strays(archive: Archive, asked: Sequence[Instance], amount: int) -> list[Instance]:
    if not amount:
        return []
    mine = {instance.study_uid for instance in asked}
    others = (instance for study in archive.studies() for instance in study if instance.study_uid not in mine)
    return [instance for instance, _ in zip(others, range(amount), strict=False)]
