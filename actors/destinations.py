"""From settings to a sink, whatever it is spoken to by."""

from actors.destination_options import DestinationOptions, DimseOptions
from actors.dimse.sink import DimseSink
from storage.sinks.open import open_sink
from storage.sinks.protocol import Sink


def open_destination(options: DestinationOptions) -> Sink:
    """As `open_sink`, of archives spoken to by DIMSE, too."""
    return DimseSink(options) if isinstance(options, DimseOptions) else open_sink(options)
