"""Asking by C-GET: instances come on our own association, and what the archive counts is held against what came."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from actors.dimse.incoming import Incoming
from actors.dimse.scu import DimseSource
from actors.options import DimseSource as DimseOptions
from actors.source import MoveEnd, MoveTarget, SourceUnreachable
from imaging.digests import raw1
from imaging.uid import Uid
from infra.simulator.faults import Faults
from infra.simulator.peers import DcmqrscpPeer, OrthancPeer
from infra.simulator.simulator import Simulator
from infra.simulator.synthetic import synthetic_archive
from storage.budget import MemoryBudget
from storage.errors import Retryable
from storage.spool import LandingPlace, Spool

Open = Callable[..., tuple[DimseSource, dict[str, bytes]]]


def never() -> bool:
    return False


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A source asked by C-GET, and RAW1 of what it handed over."""
    made: list[DimseSource] = []
    place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(64 << 20), 8 << 20)

    def make(port: int, ae: str = "SIMPACS", landing: Callable[[], object] = place.open, answer: int = 0):
        got: dict[str, bytes] = {}

        def take(incoming: Incoming) -> int:
            assert incoming.raw1 == raw1(incoming.part10, incoming.dataset_offset, incoming.transfer_syntax)
            got[incoming.sop_uid] = incoming.raw1
            return answer

        given = {"host": "127.0.0.1", "port": port, "ae_title": ae, "retrieve": "c-get"}
        options = DimseOptions.model_validate({**given, "move_timeout": timedelta(seconds=5)})
        made.append(DimseSource(options, take, landing))
        return made[-1], got

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pacs() -> Iterator[Simulator]:
    with Simulator(synthetic_archive(seed=1, studies=4)) as simulator:
        yield simulator


def retrieved(source: DimseSource, study: str, **more: object):
    source.list_instances(Uid(study))
    return source.retrieve(MoveTarget(study_uid=Uid(study), **more), "", never)


def test_every_study_comes_whole_and_as_it_is_stored(pacs: Simulator, opened: Open) -> None:
    source, got = opened(pacs.port)
    manifest = pacs.archive.manifest()

    for study in manifest.study_uids:
        outcome = retrieved(source, study)
        assert (outcome.end, outcome.completed) == (MoveEnd.SUCCESS, len(manifest.of_study(study)))

    assert got.keys() == {one.sop_uid for one in manifest}
    assert pacs.stats.counts["gets"] == len(manifest.study_uids)
    assert not pacs.stats.moves
    # What asks also gets: a study whose classes are new takes one association more at most.
    assert pacs.stats.counts["associations"] <= len(manifest.study_uids)


def test_a_single_instance_comes_alone(pacs: Simulator, opened: Open) -> None:
    source, got = opened(pacs.port)
    one = next(iter(pacs.archive.manifest()))

    retrieved(source, one.study_uid, series_uid=Uid(one.series_uid), sop_uids=(Uid(one.sop_uid),))

    assert list(got) == [one.sop_uid]


def test_an_archive_that_counts_what_it_did_not_send_has_not_succeeded(pacs: Simulator, opened: Open) -> None:
    source, got = opened(pacs.port)
    study = max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.manifest().of_study(uid)))
    pacs.faults = Faults(lost_per_study=1)

    outcome = retrieved(source, study)

    assert outcome.status == 0
    assert outcome.completed == len(got) + 1
    assert outcome.end is MoveEnd.PARTIAL


def test_what_we_could_not_hold_is_named_as_failed(pacs: Simulator, opened: Open) -> None:
    def full() -> object:
        raise Retryable("no room")

    study = pacs.archive.manifest().study_uids[0]
    source, got = opened(pacs.port, landing=full)

    outcome = retrieved(source, study)

    assert outcome.end is MoveEnd.PARTIAL
    assert set(outcome.failed_sop_uids) == pacs.archive.manifest().sop_uids(study)
    assert not got


def test_an_association_that_is_cut_is_lost_and_the_next_is_a_new_one(pacs: Simulator, opened: Open) -> None:
    source, got = opened(pacs.port)
    study = max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.manifest().of_study(uid)))
    pacs.faults = Faults(abort_move_after=1, aborts=1)

    first, second = retrieved(source, study), retrieved(source, study)

    assert (first.end, second.end) == (MoveEnd.LOST, MoveEnd.SUCCESS)
    assert got.keys() == pacs.archive.manifest().sop_uids(study)


def test_a_stop_ends_a_get_between_two_instances(pacs: Simulator, opened: Open) -> None:
    source, got = opened(pacs.port)
    study = max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.manifest().of_study(uid)))
    pacs.faults = Faults(pending_every=0)

    source.list_instances(Uid(study))
    outcome = source.retrieve(MoveTarget(study_uid=Uid(study)), "", lambda: bool(got))

    assert outcome.end is MoveEnd.LOST
    assert len(got) == 1


def test_an_archive_without_c_get_says_so_with_the_way_out(pacs: Simulator, opened: Open) -> None:
    source, _ = opened(pacs.port)
    pacs.faults = Faults(get_refused=True)

    with pytest.raises(SourceUnreachable, match="c-move") as refusal:
        retrieved(source, pacs.archive.manifest().study_uids[0])

    assert refusal.value.permanent


@pytest.mark.peer("orthanc")
def test_orthanc_sends_every_instance_on_our_association(opened: Open, tmp_path: Path) -> None:
    archive = synthetic_archive(seed=2, studies=6, instances=2, side=16)
    with OrthancPeer(tmp_path / "orthanc") as peer:
        assert len(peer.load(archive.export(tmp_path / "files"))) == len(archive.manifest())
        source, got = opened(peer.port, peer.ae)
        ends = {retrieved(source, study).end for study in archive.manifest().study_uids}

    assert ends == {MoveEnd.SUCCESS}
    assert got.keys() == {one.sop_uid for one in archive.manifest()}


@pytest.mark.peer("dcmtk")
def test_dcmqrscp_sends_every_instance_on_our_association(opened: Open, tmp_path: Path) -> None:
    archive = synthetic_archive(seed=2, studies=3, modalities=("CT", "MR"), instances=2, side=16)
    peer = DcmqrscpPeer(tmp_path / "dcmqrscp")
    loaded = len(peer.load(archive.export(tmp_path / "files")))
    with peer:
        source, got = opened(peer.port, peer.ae)
        for study in archive.manifest().study_uids:
            retrieved(source, study)

    assert len(got) == loaded > 0
