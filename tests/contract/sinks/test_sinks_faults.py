"""What an S3 endpoint, the line to it and whoever writes may do wrong while a study is written: nothing is lost,
nothing is there twice, and no finished part is sent again. A proxy does it and counts the bytes.

`make test` meets each kind of fault once; `make faults` meets all of them, with and without the SDK's own retries,
kills writer and endpoint, and prints what it saw.
"""

import multiprocessing
import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import botocore.endpoint
import pytest

from infra.embedded.seaweedfs import EmbeddedS3
from infra.proxy import Fault, Kind, Proxy, on
from storage.errors import Retryable, SinkFull, UploadLost
from storage.packs.model import Container, Receipt
from storage.packs.reader import PackReader
from storage.sinks import s3_session
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options
from storage.sinks.protocol import Sink
from storage.sinks.s3_bucket import ensure_bucket

MIB = 1 << 20
PARTS = [3 * MIB] * 5
"""Two instances fill a part of 5 MiB and end it: three parts of 6, 6 and 3 MiB and the index."""
SMALL = [100_000, 20]
"""One PUT."""
MOST_ATTEMPTS = 5
TIMEOUT = 3.0
"""Seconds that an endpoint is waited for which will stay silent; more than a busy machine keeps one silent."""

NewOptions = Callable[..., S3Options]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault, and what may follow from it."""

    operation: str
    part: int = 0
    suffix: str = ""
    kind: Kind = Kind.ANSWER
    status: int = 500
    code: str = "InternalError"
    after: int = 0
    sizes: tuple[int, ...] = tuple(PARTS)
    attempts: int = 2
    """Attempts of workers until the study is written; the SDK tries each request once."""
    helped: int = 1
    """Attempts where the SDK tries again by itself."""
    again: tuple[int, ...] = ()
    """Finished parts that S3's own rules make us send again: their upload is gone or spoilt."""
    orphans: int = 0
    """Uploads that nobody knows of any more, left to the sweeper."""

    def __str__(self) -> str:
        where = self.operation + (f" {self.part}" if self.part else "") + (f" ({self.suffix})" if self.suffix else "")
        what = f"{self.status} {self.code}" if self.kind is Kind.ANSWER else self.kind.value
        return f"{where}: {what}"

    @property
    def fault(self) -> Fault:
        when = on(self.operation, part=self.part, suffix=self.suffix)
        return Fault(self.kind, when, status=self.status, code=self.code, after=self.after)


INDEX = ".jsonl"
BUSY = [(500, "InternalError"), (503, "ServiceUnavailable"), (503, "SlowDown")]
HEALS = [(400, "ExpiredToken"), (403, "RequestTimeTooSkewed")]
SHORT = [
    Case(operation="create upload", status=503, code="SlowDown"),
    Case(operation="upload part", part=2),
    Case(operation="upload part", part=2, status=400, code="ExpiredToken", helped=2),
    Case(operation="upload part", part=2, status=400, code="BadDigest", attempts=1),
    Case(operation="upload part", part=2, status=404, code="NoSuchUpload", helped=2, again=(1,), orphans=1),
    Case(operation="upload part", part=2, kind=Kind.RESET, after=2 * MIB),
    Case(operation="upload part", part=2, kind=Kind.STALL, after=2 * MIB),
    Case(operation="upload part", part=2, kind=Kind.LOST),
    Case(operation="complete upload", status=409, code="ConditionalRequestConflict", helped=2, again=(1, 2, 3)),
    Case(operation="complete upload", status=412, code="PreconditionFailed", helped=2),
    Case(operation="complete upload", kind=Kind.LOST),
    Case(operation="put", suffix=INDEX, status=503, code="ServiceUnavailable"),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), kind=Kind.LOST),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), status=409, code="ConditionalRequestConflict", helped=2),
]
LONG = [
    *(
        Case(operation=operation, part=part, status=status, code=code, helped=1 if (status, code) in BUSY else 2)
        for operation, part in (("create upload", 0), ("upload part", 1), ("upload part", 3), ("complete upload", 0))
        for status, code in BUSY + HEALS
    ),
    *(
        Case(operation="put", suffix=suffix, sizes=sizes, status=status, code=code, helped=1 if status >= 500 else 2)
        for suffix, sizes in ((INDEX, tuple(PARTS)), (".tar", tuple(SMALL)), (INDEX, tuple(SMALL)))
        for status, code in [*BUSY, *HEALS, (409, "ConditionalRequestConflict")]
    ),
    *(
        Case(operation="upload part", part=part, kind=kind, after=after)
        for part in (1, 3)
        for kind, after in ((Kind.RESET, 0), (Kind.RESET, MIB), (Kind.STALL, 0), (Kind.STALL, MIB), (Kind.LOST, 0))
    ),
    Case(operation="upload part", part=1, status=400, code="BadDigest", attempts=1),
    Case(operation="upload part", part=3, status=404, code="NoSuchUpload", helped=2, again=(1, 2), orphans=1),
    Case(operation="upload part", part=1, status=404, code="NoSuchUpload", helped=2, orphans=1),
    Case(operation="complete upload", status=400, code="BadDigest", attempts=1),
    Case(operation="complete upload", status=404, code="NoSuchUpload", helped=2, again=(1, 2, 3), orphans=1),
    Case(operation="complete upload", kind=Kind.RESET),
    Case(operation="create upload", kind=Kind.LOST, orphans=1),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), status=400, code="BadDigest", attempts=1),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), status=412, code="PreconditionFailed", helped=2),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), kind=Kind.RESET, after=50_000),
    Case(operation="put", suffix=".tar", sizes=tuple(SMALL), kind=Kind.STALL, after=50_000),
    Case(operation="put", suffix=INDEX, kind=Kind.LOST),
    Case(operation="put", suffix=INDEX, status=400, code="BadDigest", attempts=1),
]


@dataclass(slots=True)
class Delivered:
    """How a study got there."""

    receipt: Receipt
    attempts: int
    errors: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK tries once, and its pauses between tries take no time."""
    monkeypatch.setattr(s3_session, "ATTEMPTS", 1)
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def soon_silent(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Silence is waited for no longer than it takes to tell it from a busy machine."""

    def shorten() -> None:
        for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT"):
            monkeypatch.setattr(s3_session, name, TIMEOUT)

    return shorten


@pytest.fixture
def proxied(s3_options: NewOptions) -> Iterator[tuple[Proxy, NewOptions]]:
    """A proxy before the test's endpoint, and the settings of a client behind it."""
    options = s3_options()
    with Proxy(urlsplit(str(options.endpoint_url)).port or 0) as proxy:
        yield proxy, lambda **changes: s3_options(endpoint_url=proxy.url, **changes)


def deliver(new_sink: Callable[[], Sink], study: Any, journal: Any) -> Delivered:
    """What workers do with one delivery: each goes on from the journal where the one before it stopped."""
    errors: list[str] = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        writer = None
        try:
            writer = new_sink().writer(study.pack, Container.TAR, 0, journal, journal.row)
            study.feed(writer)
            return Delivered(writer.finish(), attempt, errors)
        except (Retryable, UploadLost) as error:
            errors.append(type(error).__name__)
        finally:
            if writer is not None:
                writer.close()
    pytest.fail(f"not written after {MOST_ATTEMPTS} attempts: {errors}")


def check_once(sink: Any, study: Any, receipt: Receipt, journal: Any, objects: int) -> None:
    """Every byte is there, journal and index agree, and the bucket holds nothing else."""
    reader = PackReader(sink, study.pack, receipt.container, receipt.key)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    assert got == {uid: content for uid, (_, content) in study.instances.items()}
    assert {one.facts.sop_uid for one in journal.row.members} == {one.facts.sop_uid for one in reader.index().members}
    assert reader.sidecar() == reader.index()
    assert len(list(sink._bucket.keys(""))) == objects


def finished(proxy: Proxy) -> Counter[int]:
    """How often the endpoint took each part and said so."""
    return Counter(each.asked.part for each in proxy.passed if each.asked.part and each.status == 200)


def meet(case: Case, proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, *, helped: bool) -> str:
    """The study is written although the fault strikes; what it cost, as a row."""
    proxy, options = proxied
    study, journal = kit.Study(case.sizes), kit.Journal()
    proxy.plan(case.fault)

    done = deliver(lambda: open_sink(options()), study, journal)

    assert proxy.waiting == 0, "the fault never struck"
    assert done.attempts == (min(case.helped, case.attempts) if helped else case.attempts), done.errors
    taken = [each for each in proxy.passed if each.asked.part and each.status == 200]
    once = {} if case.sizes == tuple(SMALL) else {1: 1, 2: 1, 3: 1}
    assert finished(proxy) == Counter(once) + Counter(case.again)
    if once and not case.again:
        assert sum(each.received for each in taken) == done.receipt.size
    assert sum(each.struck is not None for each in proxy.passed) == 1
    sink: Any = open_sink(options())
    sent = proxy.received("upload part") + proxy.received("put")
    check_once(sink, study, done.receipt, journal, 2)
    swept = sink.sweep(frozenset())
    assert swept == case.orphans
    assert list(sink._bucket.uploads("")) == []
    sdk = "5" if helped else "1"
    again = ", ".join(map(str, case.again)) or "none"
    return f"| {case} | {sdk} | {done.attempts} | {again} | {done.receipt.size:,} | {sent:,} | {swept} |"


@pytest.mark.parametrize("case", SHORT, ids=str)
def test_a_fault_costs_an_attempt_at_most_and_no_finished_part(
    case: Case, proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, soon_silent: Callable[[], None]
) -> None:
    if case.kind is Kind.STALL:
        soon_silent()

    meet(case, proxied, kit, helped=False)


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Rows that are printed when all is over."""
    rows: list[str] = []
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n| fault | tries of the SDK | attempts | parts sent again | bytes of the pack | bytes sent | swept |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print("\n".join(rows))


@pytest.mark.long
@pytest.mark.parametrize("tries", [1, 5])
@pytest.mark.parametrize("case", SHORT + LONG, ids=str)
def test_every_fault_is_met_with_and_without_the_tries_of_the_sdk(
    case: Case,
    tries: int,
    proxied: tuple[Proxy, NewOptions],
    kit: SimpleNamespace,
    table: list[str],
    soon_silent: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_session, "ATTEMPTS", tries)
    if case.kind is Kind.STALL:
        soon_silent()

    table.append(meet(case, proxied, kit, helped=tries > 1))


@pytest.mark.parametrize("layout", ["p10", "imaging-service"])
@pytest.mark.parametrize("kind", [Kind.ANSWER, Kind.RESET, Kind.LOST])
def test_loose_instances_are_each_there_once_whatever_happens_to_one(
    layout: str, kind: Kind, proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace
) -> None:
    proxy, options = proxied
    study, journal = kit.Study([1000, 200_000, 20]), kit.Journal()
    spoilt = study.pack.study_uid + ".2.dcm"
    proxy.plan(Fault(kind, on("put", suffix=spoilt), status=503, code="SlowDown", after=70_000))

    done = deliver(lambda: open_sink(options(layout=layout)), study, journal)

    assert done.attempts == 2 and proxy.waiting == 0
    check_once(open_sink(options(layout=layout)), study, done.receipt, journal, 4)


def test_credentials_that_expire_are_read_anew_from_where_they_are(
    proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, tmp_path: Path
) -> None:
    proxy, options = proxied
    study, access = kit.Study(SMALL), tmp_path / "access-key"
    access.write_text(os.environ.get("SINK_ACCESS", ""))
    sink = open_sink(options(access_key=f"file:{access}"))
    expired = Fault(Kind.ANSWER, on("put"), status=400, code="ExpiredToken", then=lambda: access.write_text("next-key"))
    proxy.plan(expired, Fault(Kind.ANSWER, on("put"), status=503, code="SlowDown"))
    writers = [sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None) for _ in range(2)]

    for writer in writers:
        study.feed(writer)
        with pytest.raises(Retryable):
            writer.finish()

    signed = [each.asked.headers["authorization"] for each in proxy.passed]
    assert ["next-key" in each for each in signed] == [False, True]


def test_a_store_without_room_is_full_and_the_study_goes_on_when_it_has_some(
    proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace
) -> None:
    proxy, options = proxied
    study, journal = kit.Study(PARTS), kit.Journal()
    proxy.plan(Fault(Kind.ANSWER, on("upload part", part=2), status=507, code="XMinioStorageFull"))

    with pytest.raises(SinkFull):
        deliver(lambda: open_sink(options()), study, journal)
    done = deliver(lambda: open_sink(options()), study, journal)

    assert done.attempts == 1
    assert finished(proxy) == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.HANG])
def test_a_read_back_that_breaks_off_is_tried_again_and_never_taken_for_damage(
    kind: Kind, proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, soon_silent: Callable[[], None]
) -> None:
    proxy, options = proxied
    study, journal = kit.Study([3 * MIB]), kit.Journal()
    receipt = deliver(lambda: open_sink(options()), study, journal).receipt
    soon_silent()
    sink: Any = open_sink(options())
    proxy.plan(Fault(kind, on("get", suffix=".tar"), after=40_000))

    with pytest.raises(Retryable):
        check_once(sink, study, receipt, journal, 2)

    check_once(sink, study, receipt, journal, 2)


# Whoever writes, or keeps, is killed


def in_a_child(options: S3Options, study: Any, kit: SimpleNamespace, kept: Path) -> multiprocessing.Process:
    """A worker in a process of its own, whose journal outlives it in a file."""

    class FileJournal(kit.Journal):
        def _call(self, name: str) -> Iterator[None]:
            yield from super()._call(name)
            draft = kept.with_suffix(".draft")
            draft.write_bytes(pickle.dumps(self.row))
            draft.replace(kept)

    def work() -> None:
        writer = open_sink(options).writer(study.pack, Container.TAR, 0, FileJournal(), None)
        study.feed(writer)
        writer.finish()

    return multiprocessing.get_context("fork").Process(target=work)


def kill_writer_at(
    fault: Fault, proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, folder: Path
) -> tuple[Delivered, Any]:
    """The study is written by a second worker after the first was killed at the moment the fault strikes."""
    proxy, options = proxied
    study, journal, kept = kit.Study(PARTS), kit.Journal(), folder / "journal"
    child = in_a_child(options(), study, kit, kept)
    fault.then = lambda: os.kill(child.pid or 0, signal.SIGKILL)
    proxy.plan(fault)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    journal.row = pickle.loads(kept.read_bytes())

    done = deliver(lambda: open_sink(options()), study, journal)

    sink: Any = open_sink(options())
    check_once(sink, study, done.receipt, journal, 2)
    return done, sink


def test_a_writer_killed_in_the_middle_of_a_part_is_followed_without_sending_the_others(
    proxied: tuple[Proxy, NewOptions], kit: SimpleNamespace, tmp_path: Path
) -> None:
    fault = Fault(Kind.RESET, on("upload part", part=2), after=2 * MIB)

    done, sink = kill_writer_at(fault, proxied, kit, tmp_path)

    assert done.attempts == 1
    assert finished(proxied[0]) == {1: 1, 2: 1, 3: 1}
    assert sink.sweep(frozenset()) == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("operation", "part", "kind", "sent"),
    [
        ("create upload", 0, Kind.LOST, {1: 1, 2: 1, 3: 1}),
        ("upload part", 1, Kind.RESET, {1: 1, 2: 1, 3: 1}),
        # What is in flight when the writer dies is not in the journal, though it arrived.
        ("upload part", 3, Kind.LOST, {1: 1, 2: 1, 3: 1}),
        ("complete upload", 0, Kind.RESET, {1: 1, 2: 1, 3: 1}),
        ("complete upload", 0, Kind.LOST, {1: 1, 2: 1, 3: 1}),
        ("put", 0, Kind.LOST, {1: 1, 2: 1, 3: 1}),
    ],
)
def test_a_writer_killed_anywhere_is_followed(
    operation: str,
    part: int,
    kind: Kind,
    sent: dict[int, int],
    proxied: tuple[Proxy, NewOptions],
    kit: SimpleNamespace,
    tmp_path: Path,
    table: list[str],
) -> None:
    proxy, _ = proxied

    done, sink = kill_writer_at(Fault(kind, on(operation, part=part)), proxied, kit, tmp_path)

    assert finished(proxy) == sent
    swept = sink.sweep(frozenset())
    assert swept == (operation == "create upload")
    sent_bytes = proxy.received("upload part") + proxy.received("put")
    where = f"{operation} {part or ''}".strip()
    table.append(
        f"| {where}: writer killed, {kind.value} | 1 | 1 + {done.attempts} | none | {done.receipt.size:,} | "
        f"{sent_bytes:,} | {swept} |"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("operation", "part", "kind", "after"),
    [
        ("create upload", 0, Kind.RESET, 0),
        ("upload part", 1, Kind.RESET, MIB),
        ("upload part", 2, Kind.RESET, 2 * MIB),
        ("upload part", 2, Kind.LOST, 0),
        ("complete upload", 0, Kind.RESET, 0),
        ("complete upload", 0, Kind.LOST, 0),
        ("put", 0, Kind.LOST, 0),
    ],
)
def test_a_store_killed_anywhere_is_gone_on_with_when_it_is_back(
    operation: str,
    part: int,
    kind: Kind,
    after: int,
    own_s3: EmbeddedS3,
    kit: SimpleNamespace,
    table: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SINK_ACCESS", own_s3.access_key)
    monkeypatch.setenv("SINK_SECRET", own_s3.secret_key)
    study, journal = kit.Study(PARTS), kit.Journal()
    with Proxy(urlsplit(own_s3.endpoint_url).port or 0) as proxy:
        options = S3Options.model_validate(
            {
                "name": "cloud",
                "endpoint_url": proxy.url,
                "bucket": "killed",
                "access_key": "env:SINK_ACCESS",
                "secret_key": "env:SINK_SECRET",
                "part_size": 5 * MIB,
                "sweep_after": 0,
            }
        )
        ensure_bucket(options)
        proxy.plan(Fault(kind, on(operation, part=part), after=after, then=own_s3.kill))

        def back() -> Sink:
            own_s3.start()
            return open_sink(options)

        done = deliver(back, study, journal)

        assert proxy.waiting == 0
        assert finished(proxy) == {1: 1, 2: 1, 3: 1}
        sink: Any = open_sink(options)
        check_once(sink, study, done.receipt, journal, 2)
        swept = sink.sweep(frozenset())
        assert list(sink._bucket.uploads("")) == []
        sent = proxy.received("upload part") + proxy.received("put")
    where = f"{operation} {part or ''}".strip()
    size = done.receipt.size
    table.append(
        f"| {where}: store killed, {kind.value} | 1 | {done.attempts} | none | {size:,} | {sent:,} | {swept} |"
    )
