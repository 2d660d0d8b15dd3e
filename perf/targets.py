"""What Limosa means to reach, and whether a run's rows say that it does."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from perf.rows import Report, Row

LIMIT = ("machine's limit, 64 KiB buffer", "machine's limit, 256 KiB buffer", "machine's limit, 1024 KiB buffer")
MB, OBJECTS, CPU = "mb_per_s", "objects_per_s", "cpu_s_per_gb"
LINEAR = 0.85
"""Of n times one association's rate: what counts as nearly linear."""
SIZES = {"ct": "0.5 MB", "tiny": "20 KB", "mg": "50 MB"}


class Bound(StrEnum):
    AT_LEAST = "at least"
    AT_MOST = "at most"
    LEVEL = "level with"
    """The middle halves of the samples overlap, or it is faster; `value` is not used."""


class Verdict(StrEnum):
    MET = "met"
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One number to hold: of a subject, by itself or in relation to another of the same scenario."""

    group: str
    says: str
    scenario: str
    subject: str
    metric: str
    """A field of `Row`, or one of its figures."""
    value: float
    bound: Bound = Bound.AT_LEAST
    than: tuple[str, ...] = ()
    """The subjects whose best is the measure; empty where `value` stands for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A target and what was measured."""

    target: Target
    verdict: Verdict
    measured: float | None = None
    reason: str = ""


def judge(report: Report, targets: Iterable[Target]) -> list[Judged]:
    """Each target's verdict; without both numbers there is none."""
    return [_judged(report, target) for target in targets]


def _judged(report: Report, target: Target) -> Judged:
    row = report.row(target.scenario, target.subject)
    own = None if row is None else value_of(row, target.metric)
    if own is None:
        return Judged(target=target, verdict=Verdict.NOT_MEASURED, reason=f"no row of {target.subject}")
    best: Row | None = None
    if target.than:
        found = [each for subject in target.than if (each := report.row(target.scenario, subject)) is not None]
        best = max(found, key=lambda each: value_of(each, target.metric) or 0.0, default=None)
        value = None if best is None else value_of(best, target.metric)
        if not value:
            return Judged(target=target, verdict=Verdict.NOT_MEASURED, reason=f"no row of {target.than[0]}")
        own /= value
    verdict = Verdict.MET if _held(target, own, row, best) else Verdict.NOT_MET
    return Judged(target=target, verdict=verdict, measured=own)


def _held(target: Target, measured: float, row: Row | None, best: Row | None) -> bool:
    match target.bound:
        case Bound.AT_LEAST:
            return measured >= target.value
        case Bound.AT_MOST:
            return measured <= target.value
        case Bound.LEVEL:
            high = row.spread[1] if row and row.spread else 0.0
            return measured >= 1 or (best is not None and best.spread is not None and high >= best.spread[0])
    assert_never(target.bound)


def value_of(row: Row, metric: str) -> float | None:
    """A field of the row, or one of its figures."""
    return row.figures[metric] if metric in row.figures else getattr(row, metric, None)


def over(associations: int) -> str:
    """How many associations, in words for people."""
    return "one association" if associations == 1 else f"{associations} associations"


def _senders() -> Iterable[Target]:
    for sender in ("blaster", "C-MOVE from the simulator"):
        yield Target(
            group="Senders are faster than what is measured with them",
            says=f"{sender}, 0.5 MB objects, 4 associations: 2,500 MB/s",
            scenario="sender-ct-4",
            subject=sender,
            metric=MB,
            value=2500.0,
        )


def _receiving() -> Iterable[Target]:
    for kind, metric, factor, shown in (
        ("ct", MB, 6.0, "0.5 MB objects, MB/s"),
        ("tiny", OBJECTS, 15.0, "20 KB objects, objects/s"),
    ):
        for associations in (1, 4):
            scenario = f"receive-{kind}-{associations}"
            yield Target(
                group="Receive + BLAKE3 + hand-over, one process",
                says=f"{shown}, {over(associations)}: {factor:g} times pynetdicom",
                scenario=scenario,
                subject="limosa",
                metric=metric,
                value=factor,
                than=("pynetdicom", "pynetdicom + BLAKE3"),
            )
    for kind in SIZES:
        for metric, unit in ((MB, "MB/s"), (OBJECTS, "objects/s")):
            yield Target(
                group="Receive + BLAKE3 + hand-over, one process",
                says=f"{SIZES[kind]} objects, {over(1)}, {unit}: 0.9 times dcmtk storescp, which takes no digest",
                scenario=f"receive-{kind}-1",
                subject="limosa",
                metric=metric,
                value=0.9,
                than=("dcmtk storescp",),
            )
    for kind in ("ct", "tiny"):
        yield Target(
            group="Receive + BLAKE3 + hand-over, as many processes as dcmtk storescp forks",
            says=f"{SIZES[kind]} objects, {over(4)}, MB/s: 0.9 times dcmtk storescp",
            scenario=f"receive-{kind}-4",
            subject="limosa, 4 processes",
            metric=MB,
            value=0.9,
            than=("dcmtk storescp, 4 processes (fork)",),
        )


def _digests() -> Iterable[Target]:
    group = "Receive + RAW1 + PD1, 0.5 MB objects"
    for associations in (1, 4):
        scenario = f"digest-ct-{associations}"
        subject = "limosa, RAW1 + PD1"
        yield Target(
            group=group,
            says=f"{over(associations)}: 1.0 CPU s/GB",
            scenario=scenario,
            subject=subject,
            metric=CPU,
            value=1.0,
            bound=Bound.AT_MOST,
        )
        yield Target(
            group=group,
            says=f"{over(associations)}: 60 % of the machine's limit",
            scenario=scenario,
            subject=subject,
            metric=MB,
            value=0.6,
            than=LIMIT,
        )


def _end_to_end() -> Iterable[Target]:
    group = "End to end from the simulator to S3, 0.5 MB objects"
    scenario, mover = "end-to-end-ct", "limosa, 1 mover"
    for other, factor in (("pynetdicom", 3.0), ("dcmtk", 1.5)):
        yield Target(
            group=group,
            says=f"MB/s: {factor:g} times the usual way with {other}",
            scenario=scenario,
            subject=mover,
            metric=MB,
            value=factor,
            than=(other,),
        )
    yield Target(
        group=group,
        says="2.0 CPU s/GB of our own processes",
        scenario=scenario,
        subject=mover,
        metric=CPU,
        value=2.0,
        bound=Bound.AT_MOST,
    )
    yield Target(group=group, says="500 MB/s", scenario=scenario, subject=mover, metric=MB, value=500.0)
    for ours, theirs in ((mover, "pynetdicom"), ("limosa, 2 movers", "pynetdicom, 2 processes")):
        yield Target(
            group="End to end from Orthanc as shipped to S3, 4 associations, 0.5 MB objects",
            says=f"MB/s: {ours} 3 times the usual way with {theirs}",
            scenario="orthanc-end-to-end",
            subject=ours,
            metric=MB,
            value=3.0,
            than=(theirs,),
        )


def _orthanc() -> Iterable[Target]:
    for kind, metric, factor, shown in (("tiny", OBJECTS, 10.0, "objects/s"), ("ct", MB, 2.0, "MB/s")):
        for associations in (1, 4):
            yield Target(
                group="Receive from Orthanc as shipped (Nagle on)",
                says=f"{SIZES[kind]} objects, {over(associations)}, {shown}: {factor:g} times dcmtk and pynetdicom",
                scenario=f"orthanc-receive-{kind}",
                subject=f"limosa, {_count(associations)}",
                metric=metric,
                value=factor,
                than=tuple(f"{peer}, {_count(associations)}" for peer in ("dcmtk", "pynetdicom")),
            )


def _associations() -> Iterable[Target]:
    for scenario, shown in (("associations-latency", "20 ms per instance"),):
        for associations in (2, 4, 8):
            yield Target(
                group=f"More associations, {shown}",
                says=f"{over(associations)}: {LINEAR:.0%} of {associations} times one",
                scenario=scenario,
                subject=_count(associations),
                metric=OBJECTS,
                value=LINEAR * associations,
                than=(_count(1),),
            )
        yield Target(
            group=f"More associations, {shown}",
            says="the controller finds what the best fixed number reaches",
            scenario=scenario,
            subject="adaptive",
            metric=OBJECTS,
            value=1.0,
            bound=Bound.LEVEL,
            than=tuple(map(_count, (1, 2, 4, 8))),
        )


def _destinations() -> Iterable[Target]:
    yield Target(
        group="Upload to S3, 20 KB objects, two threads each",
        says="instances/s: packs 10 times one PUT per instance",
        scenario="s3-tiny",
        subject="limosa",
        metric=OBJECTS,
        value=10.0,
        than=("boto3 put_object",),
    )
    yield Target(
        group="Upload to S3, 0.5 MB objects",
        says="MB/s: level with rclone, which uploads packs that were made before",
        scenario="s3-ct",
        subject="limosa",
        metric=MB,
        value=1.0,
        bound=Bound.LEVEL,
        than=("rclone, ready-made tars",),
    )
    for subject, other in (("limosa", "cp -r"), ("limosa, tar.zst", "tar | zstd -1")):
        yield Target(
            group="Load a device, durable, 0.5 MB objects",
            says=f"MB/s: {subject} 0.8 times {other}",
            scenario="seed",
            subject=subject,
            metric=MB,
            value=0.8,
            than=(other,),
        )
    yield Target(
        group="One instance of 0.5 MB from a pack at S3",
        says="latency: at most 1.5 times a GET of the instance as an object of its own",
        scenario="fetch-one",
        subject="limosa, a range of a tar",
        metric="ms_median",
        value=1.5,
        bound=Bound.AT_MOST,
        than=("boto3, an object per instance",),
    )


def _memory() -> Iterable[Target]:
    yield Target(
        group="Memory over 50,000 instances",
        says="the second half grows by at most 1 MB per 10,000 instances",
        scenario="memory",
        subject="limosa, 1 mover",
        metric="slope_mb_per_10k",
        value=1.0,
        bound=Bound.AT_MOST,
    )


def _count(associations: int) -> str:
    return "1 association" if associations == 1 else f"{associations} associations"


TARGETS: tuple[Target, ...] = (
    *_senders(),
    *_receiving(),
    *_digests(),
    *_orthanc(),
    *_end_to_end(),
    *_associations(),
    *_destinations(),
    *_memory(),
)
