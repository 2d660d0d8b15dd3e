"""The blaster: what it says it sent is what the receiver has, to the byte, however it is told to write."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.options import Receiver as ReceiverOptions
from imaging.facts import InstanceFacts
from imaging.instance import describe
from infra.simulator.blaster import LOST, Blaster, Plan, Writes, samples_from
from infra.simulator.process import free_port
from infra.simulator.store import Refused
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

SAMPLES = samples_from(["workload:studies=1,instances=3,rows=64,columns=64"])


class Taken:
    """Describes what arrives and refuses it where the dataset and the command disagree."""

    def __init__(self) -> None:
        self.facts: list[InstanceFacts] = []
        self.stop_after: int | None = None
        self.receiver: Receiver | None = None

    def __call__(self, incoming: Incoming) -> int:
        self.facts.append(
            describe(
                incoming.part10,
                incoming.dataset_offset,
                incoming.transfer_syntax,
                incoming.raw1,
                sop_class=incoming.sop_class,
                sop_uid=incoming.sop_uid,
            )
        )
        return 0xA700 if len(self.facts) == self.stop_after else 0x0000


@pytest.fixture
def taken(tmp_path) -> Iterator[Taken]:
    handler = Taken()
    spool = Spool(tmp_path / "spool")
    place = LandingPlace(spool, MemoryBudget(64 << 20), 8 << 20)
    receiver = Receiver(ReceiverOptions(ae_title="LIMOSA", port=free_port()), place.open, handler)
    receiver.start()
    handler.receiver = receiver
    yield handler
    receiver.stop()
    spool.close()


def port_of(taken: Taken) -> int:
    assert taken.receiver is not None
    return taken.receiver.port


@pytest.mark.parametrize("writes", list(Writes))
@pytest.mark.parametrize("pdu", [1024, 131072])
def test_every_instance_arrives_once_under_its_own_uid(taken: Taken, writes: Writes, pdu: int) -> None:
    plan = Plan(ports=(port_of(taken),), associations=3, instances=20, writes=writes, longest_pdu=pdu)
    blaster = Blaster(plan, SAMPLES)

    blaster.open()
    outcome = blaster.fire()
    blaster.close()

    assert outcome.statuses == {"0000": 20}
    assert outcome.bytes == sum(facts.raw_size for facts in taken.facts)
    assert len({facts.sop_uid for facts in taken.facts}) == len(taken.facts) == 20


def test_proofs_are_the_digests_of_what_was_received(taken: Taken) -> None:
    blaster = Blaster(Plan(ports=(port_of(taken),), associations=2, instances=7), SAMPLES)

    blaster.open()
    outcome = blaster.fire()
    blaster.close()

    received = {facts.sop_uid: (facts.raw_size, facts.raw1.hex()) for facts in taken.facts}
    assert len(outcome.proofs) == 2
    assert all(received[proof.sop_uid] == (proof.size, proof.raw1) for proof in outcome.proofs)


def test_it_fires_again_with_other_uids(taken: Taken) -> None:
    blaster = Blaster(Plan(ports=(port_of(taken),), instances=5), SAMPLES)

    for _ in range(2):
        blaster.open()
        blaster.fire()
        blaster.close()

    assert len({facts.sop_uid for facts in taken.facts}) == 10


def test_other_answers_than_success_are_told_by_status(taken: Taken) -> None:
    taken.stop_after = 4
    blaster = Blaster(Plan(ports=(port_of(taken),), instances=6), SAMPLES)

    blaster.open()
    outcome = blaster.fire()
    blaster.close()

    assert outcome.statuses == {"0000": 5, "A700": 1}


def test_a_broken_association_is_told_and_not_waited_for(taken: Taken) -> None:
    blaster = Blaster(Plan(ports=(port_of(taken),), instances=5), SAMPLES)
    blaster.open()
    assert taken.receiver is not None

    taken.receiver.stop()
    outcome = blaster.fire()

    assert outcome.statuses == {LOST: 5}
    assert outcome.proofs == ()
    blaster.close()


def test_latency_and_bandwidth_hold_it_up(taken: Taken) -> None:
    size = SAMPLES[0].content.size

    started = time.monotonic()
    for plan in (
        Plan(ports=(port_of(taken),), instances=5, latency=0.05),
        Plan(ports=(port_of(taken),), instances=5, bandwidth=size * 20),
    ):
        blaster = Blaster(plan, SAMPLES)
        blaster.open()
        assert blaster.fire().seconds > 0.2
        blaster.close()

    assert time.monotonic() - started < 5


def test_nobody_there_is_told_at_once() -> None:
    with pytest.raises(Refused):
        Blaster(Plan(ports=(free_port(),)), SAMPLES).open()


def test_an_archive_of_several_kinds_is_cut_down_to_one() -> None:
    samples = samples_from(["synthetic:studies=12,seed=3"])

    assert len({(one.sop_class, one.transfer_syntax, len(one.sop_uid)) for one in samples}) == 1


def test_as_a_command_it_ends_with_the_outcome(taken: Taken) -> None:
    command = [sys.executable, "-m", "infra.simulator.blaster", "--port", str(port_of(taken)), "--instances", "3"]

    ended = subprocess.run([*command, "--associations", "2"], capture_output=True, text=True, timeout=60, check=False)

    ready, outcome = map(json.loads, ended.stdout.splitlines())
    assert ended.returncode == 0
    assert ready == {"ready": True}
    assert outcome["statuses"] == {"0000": 3}
    assert outcome["seconds"] > 0
