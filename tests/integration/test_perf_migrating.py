"""A benchmark's numbers count only when everything arrived: Limosa's movers and the usual ways in small."""

from collections.abc import Iterator

import pytest

from perf.corpus import Corpus
from perf.harness import Wrong
from perf.migrating import LimosaMovers, UsualWay
from perf.scenarios.end_to_end import COERCION, rules
from perf.servers import Servers
from perf.sources import Simulated
from storage.sinks.options import S3Options

CORPUS = Corpus(studies=2, instances=3, side=32)


class Both:
    """One source and its servers."""

    def __init__(self) -> None:
        self.source = Simulated(CORPUS)
        self.servers = Servers(self.source)

    def bucket(self) -> S3Options:
        return self.servers.forgetful_bucket(compression="none")

    def limosa(self) -> LimosaMovers:
        return LimosaMovers(self.servers, self.source, name="limosa", about="", bucket=self.bucket, coercion=rules())


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    made = Both()
    yield made
    made.servers.close()


def test_movers_bring_every_instance_and_the_ledger_proves_it(both: Both) -> None:
    subject = both.limosa()
    subject.prepare()

    sample = subject.once()

    assert sample.objects == 6
    assert sample.bytes == CORPUS.size
    assert sample.cpu_seconds > 0


def test_an_object_that_vanished_from_the_bucket_makes_the_turn_wrong(both: Both) -> None:
    both.servers.start(both.source)
    bucket = both.bucket()

    with pytest.raises(Wrong, match="receipts"):
        both.servers.check_bucket(bucket, {"studies/gone.tar": 5})


@pytest.mark.parametrize(
    ("script", "coercion"),
    [("move_pynetdicom", COERCION), pytest.param("move_dcmtk", {}, marks=pytest.mark.peer("dcmtk"))],
)
def test_the_usual_ways_bring_every_instance(both: Both, script: str, coercion: dict[str, str]) -> None:
    subject = UsualWay(both.servers, both.source, name=script, about="", script=script, coercion=coercion)
    subject.prepare()

    sample = subject.once()
    subject._clear()

    assert sample.objects == 6
