"""Stores that ignore conditions and checksums: what they damage is found when it is read back, and `check` says so."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.proxy import Proxy, Signer, WeakStore, on
from storage.errors import AlreadyThere, IntegrityError
from storage.packs.model import Container
from storage.packs.reader import PackReader
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options

MIB = 1 << 20
NewOptions = Callable[..., S3Options]


@pytest.fixture
def weak(s3: Any) -> Iterator[Proxy]:
    """The test's endpoint as one that knows nothing of conditions and checksums."""
    signer = Signer(access_key=s3.access_key, secret_key=s3.secret_key, region=s3.region)
    with Proxy(urlsplit(s3.endpoint_url).port or 0, store=WeakStore(signer)) as proxy:
        yield proxy


def test_check_says_what_a_weak_store_does_not_do(weak: Proxy, s3_options: NewOptions) -> None:
    sink: Any = open_sink(s3_options(endpoint_url=weak.url))

    rows = {row.what: row for row in sink.probe()}

    failed = {what for what, row in rows.items() if not row.ok}
    assert failed == {"If-None-Match honoured", "wrong CRC64NVME refused"}
    assert "if_none_match = false" in rows["If-None-Match honoured"].detail
    assert 'checksum = "none"' in rows["wrong CRC64NVME refused"].detail
    assert list(sink._bucket.keys("")) == []


@pytest.mark.parametrize(
    ("layout", "damaged", "sizes"),
    [
        ("pack", on("put", suffix=".tar"), [200_000, 300_000]),
        ("pack", on("upload part", part=2), [3 * MIB] * 4),
        ("p10", on("put", suffix=".2.dcm"), [200_000, 300_000]),
    ],
    ids=["single put", "part", "loose"],
)
def test_a_byte_that_changed_on_the_way_into_a_weak_store_is_found_and_its_instance_named(
    weak: Proxy, s3_options: NewOptions, kit: SimpleNamespace, layout: str, damaged: Any, sizes: list[int]
) -> None:
    options = s3_options(endpoint_url=weak.url, layout=layout, if_none_match=False)
    assert isinstance(weak.store, WeakStore)
    weak.store.damages = damaged
    sink, study = open_sink(options), kit.Study(sizes)
    writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
    study.feed(writer)

    receipt = writer.finish()

    reader = PackReader(sink, study.pack, receipt.container, receipt.key)
    wrong = []
    for member in reader.index().members:
        try:
            assert b"".join(reader.open(member)) == study.instances[member.facts.sop_uid][1]
        except IntegrityError:
            wrong.append(member.facts.sop_uid)
    assert len(wrong) == 1


def test_without_conditions_an_object_that_is_there_is_looked_for_and_left(
    weak: Proxy, s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    sink: Any = open_sink(s3_options(endpoint_url=weak.url, if_none_match=False))
    first, other = kit.Study([1000]), kit.Study([1001])
    for study in (first, first):
        writer = sink.writer(study.pack, Container.TAR, 0, kit.Journal(), None)
        study.feed(writer)
        receipt = writer.finish()
    before = b"".join(sink.stream(receipt.key, 0, receipt.size))
    writer = sink.writer(other.pack, Container.TAR, 0, kit.Journal(), None)
    other.feed(writer)

    with pytest.raises(AlreadyThere):
        writer.finish()

    assert b"".join(sink.stream(receipt.key, 0, receipt.size)) == before
