"""From settings to a sink."""

from typing import assert_never

from storage.sinks.dicomweb import DicomwebSink
from storage.sinks.options import DicomwebOptions, S3Options, SeedOptions, SinkOptions
from storage.sinks.protocol import Sink
from storage.sinks.s3 import S3Sink
from storage.sinks.seed import SeedSink


def open_sink(options: SinkOptions) -> Sink:
    """The destination, ready for writers of this process.

    Raises
    ------
    Rejected
        A secret cannot be read, or a device carries a foreign label.
    Retryable
        A device is not mounted.
    """
    match options:
        case S3Options():
            return S3Sink(options)
        case SeedOptions():
            return SeedSink(options)
        case DicomwebOptions():
            return DicomwebSink(options)
        case _:
            assert_never(options)
