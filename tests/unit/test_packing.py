"""Which container a study gets: by its first instance, and by what the destination wants of raw pixels."""

import pytest

from actors.packing import container_for
from storage.packs.model import Container
from storage.sinks.device import Device
from storage.sinks.options import S3Options, SeedOptions
from storage.sinks.protocol import Sink
from storage.sinks.s3 import S3Sink
from storage.sinks.seed import SeedSink

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def test_pixels_that_are_compressed_already_are_never_compressed_again() -> None:
    assert container_for(JPEG_LOSSLESS, Container.TAR_ZST) is Container.TAR


@pytest.mark.parametrize(("compression", "container"), [("zstd", Container.TAR_ZST), ("none", Container.TAR)])
def test_raw_pixels_are_compressed_where_the_destination_wants_it(tmp_path, compression, container) -> None:
    Device(tmp_path)
    sinks: list[Sink] = [
        S3Sink(S3Options(name="cloud", endpoint_url="http://127.0.0.1:1", bucket="images", compression=compression)),
        SeedSink(SeedOptions(name="disk", devices=(tmp_path,), compression=compression)),
    ]

    assert [container_for(EXPLICIT, sink.traits.raw_pixels) for sink in sinks] == [container, container]
