"""What `storage/sinks/protocol.py` promises, held against every destination."""

import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

from imaging.octets import JoinedOctets, MemoryOctets, Span
from imaging.part10 import split_part10
from storage.errors import AlreadyThere, LostClaim, Retryable, StorageError
from storage.packs.crc64 import crc64
from storage.packs.model import Container, Receipt
from storage.packs.naming import instance_key
from storage.packs.reader import PackReader
from storage.sinks.protocol import Sink
from storage.sinks.service import ServiceReader

MIB = 1 << 20
SIZES = [900_001, 5, 3 * MIB, 2 * MIB + 17, 100, 8 * MIB, 12345]
"""About 14 MiB: several parts, an instance larger than a part, tiny ones between."""

PACKED = {"s3-pack-zst", "s3-p10", "s3-imaging-service", "seed"}
"""Kinds that hold packs and indexes of ours."""

LOOSE = {"s3-p10", "s3-imaging-service"}
"""Kinds of one object per instance."""

NewSink = Callable[[], Sink]


def write(sink: Sink, study, container: Container, journal) -> Receipt:
    """One worker's attempt from what the journal holds; the worker is gone afterwards."""
    writer = sink.writer(study.pack, container, sum(SIZES), journal, journal.row)
    try:
        study.feed(writer)
        return writer.finish()
    finally:
        writer.close()


def check_whole(sink: Sink, study, receipt: Receipt, journal) -> None:
    """Everything is there, byte for byte, and journal, index and sidecar agree."""
    if receipt.container is Container.SERVICE:
        check_service(sink, study, receipt, journal)
        return
    reader = PackReader(sink, study.pack, receipt.container, receipt.key, device=receipt.device)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    assert got == {uid: content for uid, (_, content) in study.instances.items()}
    assert {member.facts.sop_uid: member for member in reader.index().members} == {
        member.facts.sop_uid: member for member in journal.row.members
    }
    assert reader.sidecar() == reader.index()
    if receipt.container is not Container.P10:
        whole = b"".join(sink.stream(receipt.key, 0, receipt.size, device=receipt.device))
        assert (len(whole), crc64(whole)) == (sink.size(receipt.key, device=receipt.device), receipt.crc64)


def check_service(sink: Sink, study, receipt: Receipt, journal) -> None:
    """As `check_whole`; a service has no index but the ledger."""
    facts = tuple(facts for facts, _ in study.instances.values())
    reader = ServiceReader(sink, study.pack, receipt.key, facts)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    # File meta is the archive's own.
    assert {uid: dataset_of(part10) for uid, part10 in got.items()} == {
        uid: dataset_of(content) for uid, (_, content) in study.instances.items()
    }
    assert {member.facts.sop_uid for member in journal.row.members} == set(study.instances)
    keys = {one.sop_uid: instance_key(receipt.key, one.series_uid, one.sop_uid) for one in facts}
    assert set(sink.loose(study.pack, receipt.key)) == set(keys.values())
    assert {uid: sink.size(key) for uid, key in keys.items()} == {uid: len(part10) for uid, part10 in got.items()}


def dataset_of(part10: bytes) -> bytes:
    return part10[split_part10(MemoryOctets(part10)).dataset_offset :]


def test_a_study_comes_back_as_it_was_written(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    study, journal, sink = kit.Study(SIZES), kit.Journal(), new_sink()

    receipt = write(sink, study, container, journal)

    check_whole(sink, study, receipt, journal)


def test_a_small_study_comes_back_as_it_was_written(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    study, journal, sink = kit.Study([1000, 2000, 3]), kit.Journal(), new_sink()

    receipt = write(sink, study, container, journal)

    check_whole(sink, study, receipt, journal)


@pytest.mark.parametrize("after", ["before its effect", "after its effect"])
def test_a_crash_at_any_journal_call_is_resumed_to_the_same_object(
    new_sink: NewSink, kind: str, container: Container, kit: SimpleNamespace, after: str
) -> None:
    # Parts are what makes studies large here, and neither a service nor loose instances have any.
    sizes, met = SIZES if kind in PACKED - LOOSE else [90_001, 5, 100], 0
    for point in count():
        study, journal = kit.Study(sizes, number=point + 1), kit.Journal()
        journal.crash_at, journal.crash_after_effect = point, after.startswith("after")
        crashed = False
        try:
            write(new_sink(), study, container, journal)
        except kit.Crash:
            crashed = True
        journal.crash_at = -1

        sink = new_sink()
        receipt = write(sink, study, container, journal)

        check_whole(sink, study, receipt, journal)
        met += crashed
        if not crashed:
            break
    assert met >= 2, "hardly any crash point was met"


def test_a_resumed_writer_holds_what_was_committed_and_sends_no_part_again(
    new_sink: NewSink, kind: str, container: Container, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([200_000 if kind in PACKED - LOOSE else 2_000] * 70), kit.Journal()
    journal.crash_at, journal.crash_after_effect = (2 if kind.startswith("s3-pack") else 1), True
    with pytest.raises(kit.Crash):
        write(new_sink(), study, container, journal)
    before = journal.row
    journal.crash_at = -1

    sink = new_sink()
    resumed = sink.writer(study.pack, container, 0, journal, journal.row)
    held = resumed.held
    resumed.close()
    receipt = write(sink, study, container, journal)

    assert held == {member.facts.sop_uid for member in before.members} != set()
    assert journal.row.parts[: len(before.parts)] == before.parts
    assert journal.row.members[: len(before.members)] == before.members
    check_whole(sink, study, receipt, journal)


def test_finishing_again_after_a_crash_behind_the_end_adopts_the_object(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    for number, sizes in enumerate(([1000, 2000], SIZES), 1):
        study, journal = kit.Study(sizes, number=number), kit.Journal()
        first = write(new_sink(), study, container, journal)

        sink = new_sink()
        writer = sink.writer(study.pack, container, 0, journal, journal.row)
        assert study.feed(writer) == 0
        second = writer.finish()

        assert (second.key, second.size, second.crc64) == (first.key, first.size, first.crc64)
        check_whole(sink, study, second, journal)


def test_a_ledger_that_forgot_adopts_the_object_by_its_own_index(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    for number, sizes in enumerate(([1000, 2000, 3000], SIZES), 1):
        study, sink = kit.Study(sizes, number=number), new_sink()
        first = write(sink, study, container, kit.Journal())
        study.instances = dict(reversed(study.instances.items()))
        journal = kit.Journal()

        second = write(sink, study, container, journal)

        assert (second.key, second.size) == (first.key, first.size)
        check_whole(sink, study, second, journal)


def test_an_object_with_other_instances_is_never_overwritten(
    new_sink: NewSink, kind: str, container: Container, kit: SimpleNamespace
) -> None:
    study, sink, journal = kit.Study([1000, 2000]), new_sink(), kit.Journal()
    receipt = write(sink, study, container, journal)
    # A service holds no packs: there it is one instance that another would replace.
    other = kit.Study([1000, 2000, 3000] if kind in PACKED else [1000, 2002])

    with pytest.raises(AlreadyThere):
        write(sink, other, container, kit.Journal())

    check_whole(sink, study, receipt, journal)


def test_finish_is_idempotent_within_a_worker(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([10, 20]), kit.Journal()
    writer = new_sink().writer(study.pack, container, 0, journal, None)
    study.feed(writer)

    assert writer.finish() == writer.finish()
    writer.close()
    writer.close()


def test_an_instance_twice_is_refused_and_the_writer_goes_on(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    study, journal, sink = kit.Study([10, 20]), kit.Journal(), new_sink()
    writer = sink.writer(study.pack, container, 0, journal, None)
    study.feed(writer)
    facts, content = next(iter(study.instances.values()))

    with pytest.raises(ValueError):
        writer.add(facts, MemoryOctets(content))

    check_whole(sink, study, writer.finish(), journal)


def test_bytes_of_another_length_than_the_facts_are_refused(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    study = kit.Study([10])
    writer = new_sink().writer(study.pack, container, 0, kit.Journal(), None)
    facts, content = next(iter(study.instances.values()))

    with pytest.raises(ValueError):
        writer.add(replace(facts, sto_size=11), MemoryOctets(content))
    writer.close()


def test_a_lost_claim_ends_the_writer_and_commits_nothing(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study(SIZES), kit.Journal()
    writer = new_sink().writer(study.pack, container, 0, journal, None)
    journal.lost = True

    with pytest.raises(LostClaim):
        study.feed(writer)
        writer.finish()
    with pytest.raises(Retryable):
        writer.finish()

    assert journal.row.members == ()


def test_several_threads_feed_one_study(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    study, journal, sink = kit.Study([300_000 + n for n in range(24)]), kit.Journal(), new_sink()
    writer = sink.writer(study.pack, container, 0, journal, None)
    instances = list(study.instances.values())

    def feed(share: int) -> None:
        for facts, content in instances[share::4]:
            writer.add(facts, MemoryOctets(content))

    threads = [threading.Thread(target=feed, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    check_whole(sink, study, writer.finish(), journal)


class Repeated:
    """Octets of any size that hold one MiB."""

    def __init__(self, piece: bytes, size: int) -> None:
        self.size, self._piece = size, memoryview(piece)

    def read(self, start: int, length: int) -> memoryview:
        return self._piece[: min(length, self.size - start)]


def test_a_writer_holds_no_more_memory_than_its_sink_says(
    new_sink: NewSink, container: Container, kit: SimpleNamespace
) -> None:
    study, sink = kit.Study([1]), new_sink()
    facts = next(iter(study.instances.values()))[0]
    writer = sink.writer(study.pack, container, 0, kit.Journal(), None)
    head = MemoryOctets(next(iter(study.instances.values()))[1])
    octets = JoinedOctets((Span(head, 0, head.size), Span(Repeated(bytes(MIB), 48 * MIB), 0, 48 * MIB)))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    writer.add(replace(facts, sto_size=octets.size), octets)
    writer.finish()

    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    writer.close()
    assert peak < sink.traits.writer_memory + 2 * MIB


def test_discarding_leaves_nothing_of_an_unfinished_study_and_all_of_a_finished_one(
    new_sink: NewSink, kind: str, container: Container, kit: SimpleNamespace
) -> None:
    sink = new_sink()
    finished, journal = kit.Study([MIB, 10], number=1), kit.Journal()
    receipt = write(sink, finished, container, journal)
    unfinished, open_journal = kit.Study(SIZES, number=2), kit.Journal()
    writer = sink.writer(unfinished.pack, container, 0, open_journal, None)
    unfinished.feed(writer)
    writer.close()

    for _ in range(2):
        sink.discard(open_journal.row)
        sink.discard(journal.row)

    check_whole(sink, finished, receipt, journal)
    assert sink.sweep(frozenset()) == 0
    key, device = open_journal.row.key, open_journal.row.device
    if kind not in PACKED:
        return  # a service takes nothing back
    folder = {"s3-p10": "1.2.840.2.0/", "s3-imaging-service": "b0001/"}.get(kind)
    for uid in unfinished.instances if folder else [""]:
        with pytest.raises(FileNotFoundError):
            sink.size(f"{key}{folder}{uid}.dcm" if folder else key, device=device)


def test_a_discarded_study_can_be_written_afresh(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    sink, study, journal = new_sink(), kit.Study(SIZES), kit.Journal()
    writer = sink.writer(study.pack, container, 0, journal, None)
    study.feed(writer)
    writer.close()
    sink.discard(journal.row)
    journal.reset("discarded")

    receipt = write(sink, study, container, journal)

    check_whole(sink, study, receipt, journal)


def test_what_is_not_there_is_a_file_not_found(new_sink: NewSink, kind: str) -> None:
    sink = new_sink()
    device = next(iter(sink._slots)).device.id if kind.startswith("seed") else ""

    with pytest.raises(FileNotFoundError):
        sink.size("studies/00/00/1.2.r0001.tar", device=device)


def test_every_probe_of_a_good_destination_passes_and_leaves_nothing(new_sink: NewSink) -> None:
    sink = new_sink()

    rows = list(sink.probe())

    assert rows and all(row.ok for row in rows), rows
    assert sink.sweep(frozenset()) == 0


def test_an_empty_study_is_refused(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    writer = new_sink().writer(kit.Study([]).pack, container, 0, kit.Journal(), None)

    with pytest.raises(ValueError):
        writer.finish()
    writer.close()


def test_errors_name_no_patient_and_no_study(new_sink: NewSink, container: Container, kit: SimpleNamespace) -> None:
    sink = new_sink()
    write(sink, kit.Study([10]), container, kit.Journal())

    with pytest.raises(StorageError) as caught:
        write(sink, kit.Study([12, 20]), container, kit.Journal())

    assert kit.Study([]).pack.study_uid not in str(caught.value)
