"""How much more associations bring: 1, 2, 4 and 8 of them in one mover, and the controller that chooses by itself.

`associations-latency`: the simulator waits 20 ms before each sub-operation, as archives do that look into a database or
a slow disk for every instance; what one association loses in waiting, the next one uses. `associations-orthanc-*`:
Orthanc as shipped. The whole way of `end-to-end` without coercion: C-MOVE, digests, pack, upload, commit; the clock
runs until the last study is committed. Each fixed setting moves studies for some seconds, so fewer associations move
fewer studies; the adaptive ones move as many as the largest. `adaptive` has moved as many before the clock starts, as
in a migration of weeks; `adaptive, from its start` has not.

`per_association` is what each association brings in instances per second: it stays level as long as more of them help.
"""

from collections.abc import Callable
from dataclasses import replace

from perf.corpus import Corpus
from perf.harness import Sample, Scale, Scenario, Subject
from perf.migrating import LimosaMovers
from perf.servers import Servers
from perf.sources import AS_SHIPPED, MOST_MOVES, Orthanc, Simulated, Source
from storage.sinks.options import S3Options

COUNTS = (1, 2, 4, 8)
LEAST, MOST = 2, COUNTS[-1]
"""What the controller may choose from: the engine's own default."""
LATENCY = 0.02
"""Seconds before each sub-operation."""
MEMORY = 1 << 30
"""Bytes a mover may hold: eight writers of two 16 MiB parts each and what arrives meanwhile."""


class Fixed(LimosaMovers):
    """A mover with so many associations."""

    def once(self) -> Sample:
        found = super().once()
        each = found.objects / found.seconds / self.associations
        return replace(found, figures={**found.figures, "per_association": each})


def _subjects(source: Source, studies: Callable[[int], int]) -> list[Subject]:
    servers = Servers(source)

    def bucket() -> S3Options:
        return servers.forgetful_bucket(compression="none")

    subjects: list[Subject] = [
        Fixed(
            servers,
            source,
            name="1 association" if count == 1 else f"{count} associations",
            about="a fixed number",
            bucket=bucket,
            lanes=count,
            studies=studies(count),
            asking=MOST_MOVES,
            limits={"memory": MEMORY},
        )
        for count in COUNTS
    ]
    for name, ahead, about in (
        ("adaptive", studies(MOST), "follows what the source gives, from 2 to 8; has found its number beforehand"),
        ("adaptive, from its start", 0, "follows what the source gives, from 2 to 8; its search is in the figure"),
    ):
        subjects.append(
            LimosaMovers(
                servers,
                source,
                name=name,
                about=about,
                bucket=bucket,
                lanes=MOST,
                studies=studies(MOST),
                ahead=ahead,
                asking=f"{LEAST}-{MOST}",
                limits={"memory": MEMORY},
            )
        )
    return subjects


def _latency(scale: Scale) -> list[Subject]:
    # Short studies: with long ones the last few, on fewer associations, would be most of the measurement.
    each = {Scale.QUICK: 2, Scale.FULL: 10}[scale]
    corpus = Corpus(studies=2 * each * MOST, instances=20, side=100, seed=5)
    return _subjects(Simulated(corpus, store_latency=LATENCY), lambda count: each * count)


def _orthanc(side: int, each: int, scale: Scale) -> list[Subject]:
    corpus = Corpus(studies=4 * each, instances=30, side=side, seed=6)
    share = {Scale.QUICK: 4, Scale.FULL: 1}[scale]
    return _subjects(Orthanc(corpus, AS_SHIPPED), lambda count: max(count, each * min(count, 2) // share))


SCENARIOS = (
    Scenario(
        name="associations-latency",
        title="C-MOVE of 20 KB slices from an archive that takes 20 ms over each, until the last study is committed",
        subjects=_latency,
    ),
    Scenario(
        name="associations-orthanc-ct",
        title="C-MOVE of 0.5 MB slices from Orthanc, until the last study is committed",
        subjects=lambda scale: _orthanc(512, 12, scale),
        quick=False,
    ),
    Scenario(
        name="associations-orthanc-tiny",
        title="C-MOVE of 20 KB slices from Orthanc, until the last study is committed",
        subjects=lambda scale: _orthanc(100, 24, scale),
        quick=False,
    ),
)
