"""Receivers under measurement: each is proven to hold what was sent, and one that does not is found out."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from infra.simulator.blaster import Proof, samples_from
from perf.harness import NotRun, Scale, Subject, Wrong
from perf.peers.dcmtk_storescp import Storescp
from perf.peers.limosa_receiver import HandOver
from perf.peers.program import Program, python
from perf.peers.receiver import Files, Held
from perf.peers.scripts import Answering, Pynetdicom
from perf.scenarios.receive import Kind, Limit, Receiving, limosa

FEW = Kind(
    name="few", title="a few", archive="workload:studies=1,instances=2", instances=64, bytes=525_000, pynetdicom=1.0
)
SUBJECTS: dict[str, Callable[[], Subject]] = {
    **{
        hand_over.value: lambda hand_over=hand_over: Receiving(limosa(hand_over), FEW, Scale.QUICK, associations=2)
        for hand_over in HandOver
    },
    "two processes": lambda: Receiving(limosa(HandOver.MEMORY, 2), FEW, Scale.QUICK, associations=2),
    "pynetdicom": lambda: Receiving(Pynetdicom("blake3", 1.0), FEW, Scale.QUICK, associations=2),
    "answers only": lambda: Receiving(Answering(), FEW, Scale.QUICK, associations=2),
    "limit": lambda: Limit(FEW, Scale.QUICK, associations=2, buffer=64 << 10),
}
STORESCP = {"storescp": 1, "storescp, forking": 2}


@pytest.fixture
def subjects() -> Iterator[list[Subject]]:
    made: list[Subject] = []
    yield made
    for subject in made:
        subject.close()


def measured(subject: Subject, subjects: list[Subject]) -> None:
    subjects.append(subject)
    subject.prepare()
    for _ in range(2):
        sample = subject.once()

        assert sample.seconds > 0
        assert sample.objects >= 8
        assert sample.bytes > sample.objects * 524_288
        assert sample.peak_rss > 1_000_000
        assert sample.sender_cpu_seconds is not None


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_turn_of_a_receiver_is_measured_and_proven(name: str, subjects: list[Subject]) -> None:
    measured(SUBJECTS[name](), subjects)


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("name", STORESCP)
def test_every_turn_of_storescp_is_measured_and_proven(name: str, subjects: list[Subject]) -> None:
    associations = STORESCP[name]

    measured(Receiving(Storescp(associations), FEW, Scale.QUICK, associations=associations), subjects)


class Forgetful(Answering):
    """Answers success and claims to hold one instance less."""

    def held(self) -> Held:
        return Held(instances=super().held().instances - 1)


class Altering(Answering):
    """Holds everything, but not what was sent."""

    def check(self, proof: Proof) -> None:
        raise Wrong("RAW1 differs")


@pytest.mark.parametrize("liar", [Forgetful, Altering])
def test_a_receiver_that_holds_less_or_something_else_gets_no_number(
    liar: type[Answering], subjects: list[Subject]
) -> None:
    subject = Receiving(liar(), FEW, Scale.QUICK, associations=1)
    subjects.append(subject)
    subject.prepare()

    with pytest.raises(Wrong):
        subject.once()


def test_a_file_that_is_absent_or_another_is_found_out(tmp_path: Path) -> None:
    files = Files(tmp_path)
    sample = samples_from([FEW.archive])[0]
    dataset = sample.dataset()
    part10 = sample.file_meta() + dataset
    raw1 = blake3(dataset + b"\0" + sample.transfer_syntax.encode()).hexdigest()
    proof = Proof(sop_uid=sample.sop_uid, size=len(dataset), raw1=raw1)

    with pytest.raises(Wrong, match="0 files"):
        files.check(proof)
    (tmp_path / f"CT.{sample.sop_uid}").write_bytes(part10)
    files.check(proof)
    (tmp_path / f"CT.{sample.sop_uid}").write_bytes(part10[:-1] + b"x")
    with pytest.raises(Wrong, match="not what was sent"):
        files.check(proof)


def test_a_program_that_is_absent_or_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(NotRun, match="no-such-program is not installed"):
        Program(["no-such-program"])

    program = Program(python("perf.peers.limit", "receive", "no-such-folder", "not a number"))
    try:
        with pytest.raises(Wrong, match="not a number"):
            program.hear(30)
    finally:
        with suppress(ProcessLookupError):
            program.stop()
