"""A pack that starts over lies in nobody's way, wherever the worker dies meanwhile."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest

from actors.packing import StudyPacker
from imaging.octets import MemoryOctets
from storage.packs.model import Container
from storage.packs.reader import PackReader
from storage.sinks.protocol import Sink

MIB = 1 << 20
SIZES = [3 * MIB, 3 * MIB, 3 * MIB]


@pytest.fixture(params=["s3-pack-zst", "s3-p10", "seed"])
def target(request: pytest.FixtureRequest) -> str:
    """A service takes nothing back: there an attempt that starts over meets what it sent before."""
    return request.param


def fill(packer: StudyPacker, study) -> None:
    for facts, content in study.instances.values():
        packer.add(facts, MemoryOctets(content))


class Dying:
    """The sink of a process that dies while it discards."""

    def __init__(self, sink: Sink, crash: type[BaseException], when: str) -> None:
        self._sink, self._crash, self._when = sink, crash, when

    def discard(self, state) -> None:
        if self._when == "after":
            self._sink.discard(state)
        raise self._crash


def opened(sink, study, container: Container, journal) -> StudyPacker:
    return StudyPacker(sink, study.pack, journal, lambda: journal.row, container=container)


@pytest.mark.parametrize("place", ["journal", "journal after its effect", "before", "after"])
def test_another_attempt_writes_its_own_instances_wherever_the_starting_over_was_cut_off(
    new_sink: Callable[[], Sink], container: Container, kit: SimpleNamespace, place: str
) -> None:
    for point in count():
        first, second = kit.Study(SIZES, number=7 + point), kit.Study([MIB, *SIZES], number=7 + point)
        journal = kit.Journal()
        packer = opened(new_sink(), first, container, journal)
        fill(packer, first)
        crashed = False
        try:
            if place.startswith("journal"):
                journal.crash_at, journal.crash_after_effect = len(journal.calls) + point, "after" in place
            else:
                packer._sink = Dying(packer._sink, kit.Crash, place)
            packer.start_over("INCOMPLETE_STUDY")
        except kit.Crash:
            crashed = True
        journal.crash_at = -1

        # Where the process died before anything was said, nothing was started over: the attempt goes on.
        study = second if journal.row is None or journal.row.spoiled else first
        again = opened(new_sink(), study, container, journal)
        held = {facts.sop_uid for facts in again.resumed}
        for facts, content in study.instances.values():
            if facts.sop_uid not in held:
                again.add(facts, MemoryOctets(content))
        receipt = again.finish()

        index = PackReader(new_sink(), study.pack, receipt.container, receipt.key, device=receipt.device).index()
        assert {member.facts.sop_uid for member in index.members} == set(study.instances)
        if not crashed or not place.startswith("journal"):
            assert (study, held) == (second, set())
            return


def test_an_attempt_that_was_spoiled_is_not_taken_up(
    new_sink: Callable[[], Sink], container: Container, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([*SIZES, *SIZES]), kit.Journal()
    cut_off = opened(new_sink(), study, container, journal)
    fill(cut_off, study)
    cut_off.spoil()
    cut_off.close()

    packer = opened(new_sink(), study, container, journal)
    fill(packer, study)
    receipt = packer.finish()

    reader = PackReader(new_sink(), study.pack, receipt.container, receipt.key, device=receipt.device)
    assert {member.facts.sop_uid for member, pieces in reader.walk() if list(pieces)} == set(study.instances)
