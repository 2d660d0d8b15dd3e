"""How subjects are measured against each other: by turns, verified, with the first turn thrown away.

A shared machine drifts from minute to minute. Subjects therefore take turns (A B C A B C ...), so that drift meets all
of them, and every rate is a median with its quartiles. A quick run, and a sample of minutes, has no turn to throw away.
"""

import statistics
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from perf.rows import Row

MB = 10**6
GB = 10**9
LEAST_CPU_SECONDS = 0.05
"""CPU time is counted in ticks of 10 ms: what took fewer than five is not told per GB."""


class NotRun(Exception):
    """This subject cannot be measured here; the message says what is missing."""


class Wrong(Exception):
    """The subject did not do what is measured: something is missing, too many, or not what was sent."""


class Scale(Enum):
    """How much work a sample is."""

    QUICK = "quick"
    """Enough to see that it works, and roughly how fast: without a turn to warm up."""
    FULL = "full"
    """One to three seconds of work per sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One verified turn of one subject."""

    seconds: float
    bytes: int
    objects: int
    cpu_seconds: float
    """Of the subject's own processes."""
    peak_rss: int
    """Bytes."""
    sender_cpu_seconds: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """Whatever else was measured; names carry units."""


class Subject(Protocol):
    """Something that does the scenario's work. Servers run in processes of their own."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str:
        """What it does and what it leaves out, in a sentence for the report."""
        ...

    @property
    def associations(self) -> int: ...

    @property
    def processes(self) -> int: ...

    def prepare(self) -> None:
        """It is ready for its first turn. Raises `NotRun`."""
        ...

    def once(self) -> Sample:
        """The work is done and was verified. Raises `Wrong`."""
        ...

    def close(self) -> None:
        """Processes and files are gone. Called in any state, also after a failed `prepare`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A piece of work, and who does it."""

    name: str
    """Kebab case; `--only` takes it or its beginning up to a dash."""
    title: str
    """A sentence: what is sent, by whom, until when the clock runs."""
    subjects: Callable[[Scale], Sequence[Subject]]
    """Makes fresh ones; must not start anything yet."""
    unit: str = "instances"
    """What an object is."""
    quick: bool = True
    """Part of the quick run."""
    most_repeats: int | None = None
    """For scenarios whose single sample takes minutes."""

    def asked_by(self, only: Sequence[str]) -> bool:
        """Nothing in particular was asked for, or this one was."""
        return not only or any(self.name == each or self.name.startswith(f"{each}-") for each in only)


def run(scenario: Scenario, *, scale: Scale, repeats: int, tell: Callable[[str], None]) -> list[Row]:
    """One row per subject, in order; a subject that is absent or wrong has a row that says so."""
    repeats = min(repeats, scenario.most_repeats or repeats)
    subjects = scenario.subjects(scale)
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    fallen: dict[str, NotRun | Wrong] = {}
    try:
        for subject in subjects:
            with _leaving(subject, fallen):
                subject.prepare()
        warm_up = scale is Scale.FULL and scenario.most_repeats is None
        for turn in range(0 if warm_up else 1, repeats + 1):
            for subject in subjects:
                if subject.name in fallen:
                    continue
                with _leaving(subject, fallen):
                    sample = subject.once()
                    if turn:
                        samples[subject.name].append(sample)
                    tell(_told(scenario, subject, sample, turn, repeats))
    finally:
        for subject in subjects:
            subject.close()
    for name, error in fallen.items():
        tell(f"{scenario.name}: {name}: {error}")
    return [row_of(scenario, subject, samples[subject.name], fallen.get(subject.name)) for subject in subjects]


@contextmanager
def _leaving(subject: Subject, fallen: dict[str, NotRun | Wrong]) -> Iterator[None]:
    """A subject that cannot, or does wrong, leaves the race; the others go on."""
    try:
        yield
    except (NotRun, Wrong) as error:
        fallen[subject.name] = error
    except Exception as defect:  # border to whatever is measured: its defect must not cost the night's other results
        where = traceback.extract_tb(defect.__traceback__)[-1]
        fallen[subject.name] = Wrong(
            f"{type(defect).__name__}: {defect} ({Path(where.filename).name}, line {where.lineno})"
        )


def row_of(scenario: Scenario, subject: Subject, samples: Sequence[Sample], fallen: NotRun | Wrong | None) -> Row:
    """The subject's samples as medians; no numbers where it fell."""
    row = Row(
        scenario=scenario.name,
        subject=subject.name,
        associations=subject.associations,
        processes=subject.processes,
        about=subject.about,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if fallen is not None or not samples:
        return replace(row, not_run=str(fallen or "no samples"), failed=isinstance(fallen, Wrong))
    bytes_ = round(statistics.median(sample.bytes for sample in samples))
    rates = [sample.bytes / MB / sample.seconds for sample in samples]
    objects = [sample.objects / sample.seconds for sample in samples]
    senders = [sample.sender_cpu_seconds for sample in samples if sample.sender_cpu_seconds is not None]
    return replace(
        row,
        mb_per_s=_median(rates) if bytes_ else None,
        objects_per_s=_median(objects),
        cpu_s_per_gb=_cpu_per_gb([sample.cpu_seconds for sample in samples], bytes_),
        peak_rss_mb=_median([sample.peak_rss / MB for sample in samples]),
        objects=round(statistics.median(sample.objects for sample in samples)),
        bytes=bytes_,
        seconds=_median([sample.seconds for sample in samples]),
        repeats=len(samples),
        spread=quartiles(rates if bytes_ else objects),
        sender_cpu_s_per_gb=_cpu_per_gb(senders, bytes_),
        figures={
            name: _median([sample.figures[name] for sample in samples if name in sample.figures])
            for name in dict.fromkeys(name for sample in samples for name in sample.figures)
        },
    )


def _cpu_per_gb(seconds: Sequence[float], size: int) -> float | None:
    """None where the samples are too short for the kernel's clock."""
    if not size or not seconds or statistics.median(seconds) < LEAST_CPU_SECONDS:
        return None
    return _median([each * GB / size for each in seconds])


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile, inclusive: half of the samples lie between them."""
    if len(values) < 2:
        return _short(values[0]), _short(values[0])
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return _short(first), _short(third)


def _median(values: Sequence[float]) -> float:
    return _short(statistics.median(values))


def _short(value: float) -> float:
    """Four digits: more would pretend."""
    return float(f"{value:.4g}")


def _told(scenario: Scenario, subject: Subject, sample: Sample, turn: int, repeats: int) -> str:
    rate = f"{sample.bytes / MB / sample.seconds:,.0f} MB/s, " if sample.bytes else ""
    which = f"{turn}/{repeats}" if turn else "warm-up"
    objects = f"{sample.objects / sample.seconds:,.0f} {scenario.unit}/s"
    return f"{scenario.name}: {subject.name}: {which}: {rate}{objects} in {sample.seconds:.2f} s"
