"""Looking into studies: what comes is read, and what does not come, or makes no sense, is told as such."""

from collections import Counter as Counts
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from actors.dimse.incoming import Incoming, Peer
from actors.source import InstanceList, InstanceRef, MoveEnd, MoveOutcome, MoveTarget
from cluster.audit.source import Counter, count_source
from cluster.inventory.sample import ATTEMPTS, Sampler, SamplingRefused, Shelf
from imaging.digests import raw1
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.uid import Uid
from infra.simulator import synthetic_archive
from storage.ledger.audits import ChosenStudy
from storage.ledger.samples import SampledStudy

GOOD = MoveOutcome(end=MoveEnd.SUCCESS, status=0, completed=1)
IMAGES = list(synthetic_archive(studies=2).manifest())
STUDY = Uid(IMAGES[0].study_uid)


def incoming(image: Any, dataset: bytes) -> Incoming:
    meta = encode_meta(image.sop_class, image.sop_uid, image.transfer_syntax)
    octets = MemoryOctets(meta + dataset)
    return Incoming(
        peer=Peer(calling_ae="", called_ae="", address=""),
        sop_class=image.sop_class,
        sop_uid=image.sop_uid,
        transfer_syntax=image.transfer_syntax,
        move_originator_ae=None,
        move_originator_id=None,
        part10=octets,
        dataset_offset=len(meta),
        raw1=raw1(octets, len(meta), image.transfer_syntax),
    )


class Archive:
    """Lists the study's images and sends what it is asked for, or what it is told to."""

    def __init__(self, shelf: Shelf | Counter) -> None:
        self.shelf = shelf
        self.images = [image for image in IMAGES if image.study_uid == STUDY]
        self.outcomes: list[MoveOutcome] = []
        self.cut = 0
        self.asked: list[MoveTarget] = []

    def list_instances(self, study_uid: Uid) -> InstanceList:
        refs = [InstanceRef(series_uid=Uid(i.series_uid), sop_uid=Uid(i.sop_uid)) for i in self.images]
        return InstanceList(instances=tuple(refs), complete=True)

    def retrieve(self, target: MoveTarget, receiver: str, stop: Any) -> MoveOutcome:
        self.asked.append(target)
        outcome = self.outcomes.pop(0) if self.outcomes else GOOD
        for image in self.images:
            if outcome is GOOD and image.sop_uid in target.sop_uids:
                dataset = image.dataset()
                self.shelf.take(incoming(image, dataset[: self.cut] if self.cut else dataset))
        return outcome


@pytest.fixture
def looked() -> Any:
    shelf = Shelf()
    archive = Archive(shelf)
    kept: list[SampledStudy] = []
    ledger: Any = SimpleNamespace(samples=SimpleNamespace(record=kept.append))
    made: Any = archive
    sampler = Sampler(
        made, shelf, ledger, receiver="LIMOSA", quiet=timedelta(seconds=1), sleep=lambda seconds: None
    )  # fmt: skip

    def look() -> list[SampledStudy]:
        sampler.look_into([(1, STUDY)], lambda progress: None)
        return kept

    return SimpleNamespace(archive=archive, look=look, shelf=shelf)


def test_one_image_of_each_series_is_asked_for_and_stands_for_all_of_it(looked: Any) -> None:
    (study,) = looked.look()

    series = {image.series_uid for image in looked.archive.images}
    assert {target.series_uid for target in looked.archive.asked} == series
    assert all(len(target.sop_uids) == 1 for target in looked.archive.asked)
    assert sum(one.instances for one in study.series) == len(looked.archive.images)
    assert {one.outcome for one in study.series} == {"read"}
    assert all(one.manufacturer and one.modality and one.size for one in study.series)


def test_an_image_that_is_no_sound_dataset_is_damaged_and_not_absent(looked: Any) -> None:
    looked.archive.cut = 90

    (study,) = looked.look()

    assert {one.outcome for one in study.series} == {"damaged"}
    assert study.series[0].size is not None


def test_an_image_that_is_not_sent_is_absent(looked: Any) -> None:
    looked.archive.outcomes = [MoveOutcome(end=MoveEnd.PARTIAL, status=0xB000, completed=0, failed=1)]

    (study,) = looked.look()

    assert study.series[0].outcome == "absent"


def test_a_study_of_a_busy_archive_is_left_for_another_sample(looked: Any) -> None:
    looked.archive.outcomes = [MoveOutcome(end=MoveEnd.BUSY, status=0xA702)] * ATTEMPTS

    assert looked.look() == []
    assert len(looked.archive.asked) == ATTEMPTS


def test_an_archive_that_does_not_know_our_title_ends_the_sample(looked: Any) -> None:
    looked.archive.outcomes = [MoveOutcome(end=MoveEnd.UNKNOWN_DESTINATION, status=0xA801)]

    with pytest.raises(SamplingRefused):
        looked.look()


def audited(archive: Archive, counter: Counter) -> None:
    study = ChosenStudy(study_uid=STUDY, modalities=("CT",), year=2020, of=1)
    made: Any = archive
    count_source(made, "LIMOSA", counter, [study], quiet=timedelta(milliseconds=10))


def test_an_audit_of_the_source_counts_three_images_of_each_series_and_keeps_none() -> None:
    counter = Counter()
    archive = Archive(counter)

    audited(archive, counter)

    asked = [uid for target in archive.asked for uid in target.sop_uids]
    sizes = Counts(image.series_uid for image in archive.images)
    assert len(asked) == sum(min(3, size) for size in sizes.values())
    assert (counter.tally.instances, counter.tally.unreadable) == (len(asked), 0)
    assert counter.tally.studies == {STUDY}
    assert {device[3] for device in counter.tally.devices} == {2020}


def test_what_the_source_does_not_send_or_sends_damaged_is_counted_as_unreadable() -> None:
    counter = Counter()
    archive = Archive(counter)
    archive.outcomes = [MoveOutcome(end=MoveEnd.PARTIAL, status=0xB000, completed=0, failed=1)]

    audited(archive, counter)
    missing = counter.tally.unreadable
    archive.cut = 90
    audited(archive, counter)

    assert missing == len(archive.asked[0].sop_uids)
    assert counter.tally.unreadable == missing + sum(
        len(target.sop_uids) for target in archive.asked[len(archive.asked) // 2 :]
    )
