"""What only an object store can do to us."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from imaging.octets import MemoryOctets
from storage.errors import AlreadyThere, IntegrityError, Rejected, Retryable, UploadLost
from storage.packs.batches import Batches
from storage.packs.crc64 import crc64
from storage.packs.model import Container
from storage.packs.reader import PackReader
from storage.sinks import p10, s3_client, s3_session, s3_upload
from storage.sinks import s3 as s3_sink
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options
from storage.sinks.s3 import S3Sink
from storage.sinks.s3_parts import MIN_PART
from storage.sinks.secret import resolve

MIB = 1 << 20
SIZES = [3 * MIB, 3 * MIB, 3 * MIB, MIB]

NewOptions = Callable[..., S3Options]


@pytest.fixture
def client(s3: Any) -> Any:
    """The endpoint as somebody else sees it."""
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )


@pytest.fixture
def sink(s3_options: NewOptions) -> S3Sink:
    return S3Sink(s3_options())


def test_a_study_that_fits_a_part_is_one_put_and_leaves_two_objects(
    sink: S3Sink, s3: Any, client: Any, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([MIB, 1000]), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)

    receipt = writer.finish()

    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=s3.bucket)["Contents"]]
    assert len(keys) == 2 and receipt.key in keys
    assert journal.calls == ["begin", "commit_group"]


def test_every_part_says_what_it_is_so_that_no_endpoint_guesses(sink: S3Sink, kit: SimpleNamespace) -> None:
    study, types = kit.Study(SIZES), list[bytes]()
    sink._bucket._client.meta.events.register(
        "before-send.s3.UploadPart", lambda request, **_: types.append(request.headers["Content-Type"])
    )
    writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
    study.feed(writer)

    writer.finish()

    assert len(types) > 1
    assert set(types) == {b"application/octet-stream"}


def test_the_endpoint_holds_the_checksum_of_the_whole_multipart_object(
    sink: S3Sink, s3: Any, client: Any, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study(SIZES), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)

    receipt = writer.finish()

    assert len(journal.row.parts) > 1
    assert sink._bucket.head(receipt.key).crc64 == receipt.crc64


def test_an_upload_that_vanished_starts_over_and_the_next_worker_succeeds(sink: S3Sink, kit: SimpleNamespace) -> None:
    study, journal = kit.Study(SIZES), kit.Journal()
    journal.crash_at, journal.crash_after_effect = 2, True
    with pytest.raises(kit.Crash):
        writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
        study.feed(writer)
        writer.finish()
    sink._bucket.abort(journal.row.key, journal.row.upload_id)
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)

    with pytest.raises(UploadLost):
        study.feed(writer)
        writer.finish()

    assert journal.row is None
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    assert study.feed(writer) == len(study.instances)
    assert writer.finish().size


def test_a_completion_whose_answer_was_lost_is_adopted(
    sink: S3Sink, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal = kit.Study(SIZES), kit.Journal()
    complete = s3_client.Bucket.complete

    def lose_answer(self: Any, *rest: Any) -> Any:
        complete(self, *rest)
        raise Retryable("no answer")

    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    with monkeypatch.context() as patch:
        patch.setattr(s3_client.Bucket, "complete", lose_answer)
        with pytest.raises(Retryable):
            writer.finish()

    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    assert study.feed(writer) == 0
    receipt = writer.finish()

    assert receipt.crc64 == sink._bucket.head(receipt.key).crc64
    assert journal.calls.count("reset") == 0


def test_two_workers_that_race_for_one_pack_end_with_one_object(sink: S3Sink, kit: SimpleNamespace) -> None:
    study = kit.Study(SIZES)
    journals = [kit.Journal(), kit.Journal()]
    writers = [sink.writer(study.pack, Container.TAR, 0, journal, None) for journal in journals]
    for writer in writers:
        study.feed(writer)

    receipts = [writer.finish() for writer in writers]

    assert receipts[0].key == receipts[1].key and receipts[0].crc64 == receipts[1].crc64
    assert sink.sweep(frozenset()) == 0


def test_a_foreign_object_under_our_key_is_not_overwritten(
    sink: S3Sink, s3: Any, client: Any, kit: SimpleNamespace
) -> None:
    for sizes in ([1000], SIZES):
        study, journal = kit.Study(sizes), kit.Journal()
        writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
        study.feed(writer)
        client.put_object(Bucket=s3.bucket, Key=journal.row.key, Body=b"somebody else's")

        with pytest.raises(AlreadyThere):
            writer.finish()

        assert client.get_object(Bucket=s3.bucket, Key=journal.row.key)["Body"].read() == b"somebody else's"


def unreachable(*_: Any) -> Any:
    raise Retryable("no answer")


def test_instances_that_come_after_the_index_start_the_study_over(
    sink: S3Sink, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal = kit.Study(SIZES), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    with monkeypatch.context() as patch:
        patch.setattr(s3_client.Bucket, "complete", unreachable)
        with pytest.raises(Retryable):
            writer.finish()
    larger = kit.Study([*SIZES, 1000])
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)

    with pytest.raises(UploadLost):
        larger.feed(writer)

    assert journal.row is None
    assert sink.sweep(frozenset()) == 0


@pytest.mark.parametrize("sizes", [[1000], SIZES])
def test_bytes_that_change_in_memory_never_become_an_object(
    sizes: list[int], sink: S3Sink, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal = kit.Study(sizes), kit.Journal()
    octets = s3_upload.PartBuffer.octets

    def flip(self: Any) -> Any:
        self._buffer[self.filled // 2] ^= 1
        return octets(self)

    monkeypatch.setattr(s3_upload.PartBuffer, "octets", flip)
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)

    with pytest.raises(IntegrityError):
        study.feed(writer)
        writer.finish()

    assert list(sink._bucket.keys("")) == []


def test_a_wrong_secret_is_rejected_and_a_dead_endpoint_is_retryable(
    s3_options: NewOptions, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = kit.Study([1000])
    good = s3_options()
    monkeypatch.setenv("WRONG", "wrong-secret")
    monkeypatch.setattr(s3_session, "ATTEMPTS", 1)
    cases = [
        (Rejected, {"secret_key": "env:WRONG"}),
        (Rejected, {"bucket": "no-such-bucket-here", "secret_key": "env:WRONG"}),
        (Retryable, {"endpoint_url": "http://127.0.0.1:9"}),
    ]

    for kind, changes in cases:
        sink = open_sink(good.model_copy(update=changes))
        writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
        study.feed(writer)
        with pytest.raises(kind) as caught:
            writer.finish()
        assert "wrong-secret" not in str(caught.value)
        assert not next(iter(sink.probe())).ok


def test_sweeping_aborts_unknown_uploads_and_spares_live_and_young_ones(
    s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    sink = S3Sink(s3_options())
    journals = []
    for number in (1, 2):
        journals.append(kit.Journal())
        study = kit.Study(SIZES, number=number)
        writer = sink.writer(study.pack, Container.TAR, 0, journals[-1], None)
        study.feed(writer)
        writer.close()
    live = frozenset({journals[0].row.upload_id})

    assert S3Sink(s3_options(sweep_after=3600)).sweep(frozenset()) == 0
    assert sink.sweep(live) == 1
    assert [upload.upload_id for upload in sink._bucket.uploads("")] == list(live)
    assert sink.sweep(frozenset()) == 1


def test_a_store_without_conditional_writes_and_checksums_still_works(
    s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    sink = S3Sink(s3_options(if_none_match=False, checksum="none", prefix="archive"))
    study, journal = kit.Study(SIZES), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR_ZST, 0, journal, None)
    study.feed(writer)

    receipt = writer.finish()

    assert receipt.key.startswith("archive/studies/")
    assert receipt.crc64 == crc64(b"".join(sink.stream(receipt.key, 0, receipt.size)))
    reader = PackReader(sink, study.pack, receipt.container, receipt.key)
    assert reader.sidecar() == reader.index()
    again = kit.Journal()
    writer = sink.writer(study.pack, Container.TAR_ZST, 0, again, None)
    study.feed(writer)
    assert writer.finish().etag == receipt.etag


def test_loose_instances_of_an_interrupted_study_are_compared_and_kept(
    s3_options: NewOptions, s3: Any, client: Any, kit: SimpleNamespace
) -> None:
    sink, study = S3Sink(s3_options(layout="p10")), kit.Study([1000, 2000])
    facts, content = next(iter(study.instances.values()))
    journal = kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    writer.add(facts, MemoryOctets(content))
    writer.close()
    assert journal.row.members == ()

    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    study.feed(writer)
    receipt = writer.finish()

    assert receipt.size == 3000
    client.put_object(Bucket=s3.bucket, Key=f"{receipt.key}1.2/9.dcm", Body=b"foreign")
    writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
    study.feed(writer)
    with pytest.raises(AlreadyThere):
        writer.finish()


def test_every_probe_says_what_a_poor_store_lacks(s3_options: NewOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = S3Sink(s3_options())
    monkeypatch.setattr(s3_client.Bucket, "_only_new", lambda self: {})
    monkeypatch.setattr(s3_client.Bucket, "_checksum", lambda self, crc64: {})

    rows = {row.what: row.ok for row in sink.probe()}

    assert rows["bucket reachable"]
    assert not rows["If-None-Match honoured"]
    assert not rows["wrong CRC64NVME refused"]
    assert list(sink._bucket.keys("")) == []


def test_bodies_are_signed_where_the_network_is_not_trusted(
    s3_options: NewOptions, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert s3_session._body_is_safe("https://s3.example.org") and not s3_session._body_is_safe("http://s3.example.org")
    monkeypatch.setattr(s3_session, "_body_is_safe", lambda url: False)
    sink, study = S3Sink(s3_options()), kit.Study(SIZES)
    writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
    study.feed(writer)

    receipt = writer.finish()

    assert sink.size(receipt.key) == receipt.size


@pytest.mark.parametrize("change", ["longer", "shorter", "other bytes", "gone"])
def test_a_loose_instance_that_changed_at_the_endpoint_is_noticed(
    change: str, s3_options: NewOptions, s3: Any, client: Any, kit: SimpleNamespace
) -> None:
    sink, study = S3Sink(s3_options(layout="p10")), kit.Study([1000])
    writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
    study.feed(writer)
    receipt = writer.finish()
    facts, content = next(iter(study.instances.values()))
    bodies = {"longer": content + b"x", "shorter": content[:-1], "other bytes": b"x" + content[1:]}
    key = f"{receipt.key}{facts.series_uid}/{facts.sop_uid}.dcm"
    if change == "gone":
        client.delete_object(Bucket=s3.bucket, Key=key)
    else:
        client.put_object(Bucket=s3.bucket, Key=key, Body=bodies[change])
    reader = PackReader(sink, study.pack, Container.P10, receipt.key)

    with pytest.raises((IntegrityError, FileNotFoundError)):
        b"".join(reader.open(reader.index().members[0]))


def test_secrets_are_read_from_where_they_are_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("hush\n")
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("SINK_KEY", "whisper")

    assert resolve(f"file:{tmp_path}/key").get_secret_value() == "hush"
    assert resolve("env:SINK_KEY").get_secret_value() == "whisper"
    assert "whisper" not in repr(resolve("env:SINK_KEY"))
    for reference in (f"file:{tmp_path}/empty", f"file:{tmp_path}/absent", "env:SINK_ABSENT"):
        with pytest.raises(Rejected):
            resolve(reference)


@pytest.mark.parametrize("value", ["hush", "env:", "file:relative", "env:A B"])
def test_a_secret_written_into_the_settings_is_refused(value: str, s3_options: NewOptions) -> None:
    with pytest.raises(ValueError):
        s3_options(secret_key=value)


def test_part_size_below_what_s3_takes_is_refused(s3_options: NewOptions) -> None:
    with pytest.raises(ValueError):
        s3_options(part_size=MIN_PART - 1)


def test_a_loose_instance_that_no_single_put_holds_is_sent_in_parts(
    s3_options: NewOptions, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p10, "MAX_PUT", 6 * MIB)
    monkeypatch.setattr(p10, "LARGE_PART", 5 * MIB)
    sink, study, other = S3Sink(s3_options(layout="p10")), kit.Study([8 * MIB, 100]), kit.Study([8 * MIB + 1])

    receipts = []
    for journal in (kit.Journal(), kit.Journal()):
        # The second attempt meets the objects of the first, whose journal was lost.
        writer = sink.writer(study.pack, Container.P10, 0, journal, None)
        study.feed(writer)
        receipts.append(writer.finish())
    conflicting = sink.writer(other.pack, Container.P10, 0, kit.Journal(), None)
    with pytest.raises(AlreadyThere):
        other.feed(conflicting)

    assert receipts[0] == receipts[1]
    reader = PackReader(sink, study.pack, Container.P10, receipts[0].key)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    assert got == {uid: content for uid, (_, content) in study.instances.items()}
    assert list(sink._bucket.uploads("")) == []


def test_an_import_prefix_holds_batches_of_instances_and_nothing_else(
    s3_options: NewOptions, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_sink, "Batches", partial(Batches, files=2, size=4000))
    sink, study = S3Sink(s3_options(layout="imaging-service")), kit.Study([1000, 1500, 10, 4000, 500])
    assert all(row.ok for row in sink.probe())
    receipts = []
    for journal in (kit.Journal(), kit.Journal()):
        # The second attempt meets the objects of the first, whose journal was lost, and starts with the last of them.
        study.instances = dict(reversed(study.instances.items()))
        writer = sink.writer(study.pack, Container.P10, 0, journal, None)
        study.feed(writer)
        receipts.append(writer.finish())

    assert receipts[0] == receipts[1]
    keys = [key.removeprefix(receipts[0].key) for key in sink._bucket.keys("studies/")]
    assert Counter(key.split("/")[0] for key in keys) == {"b0001": 1, "b0002": 1, "b0003": 2, "b0004": 1}
    assert all(key.endswith(".dcm") for key in keys) and len(keys) == 5
    assert len(list(sink._bucket.keys("index/"))) == 1 and len(list(sink._bucket.keys(""))) == 6
    reader = PackReader(sink, study.pack, Container.P10, receipts[0].key)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    assert got == {uid: content for uid, (_, content) in study.instances.items()}


def test_an_instance_that_no_import_takes_is_refused_by_name(
    s3_options: NewOptions, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_sink, "Batches", partial(Batches, size=999))
    sink, study = S3Sink(s3_options(layout="imaging-service")), kit.Study([500, 1000])
    writer = sink.writer(study.pack, Container.P10, 0, kit.Journal(), None)

    with pytest.raises(Rejected) as caught:
        study.feed(writer)

    assert caught.value.sop_uids == (sorted(study.instances)[1],)
    assert caught.value.sop_uids[0] not in str(caught.value)
