"""Opens a source of any kind."""

from typing import assert_never

from actors.dimse.incoming import InstanceHandler, nobody
from actors.dimse.landing import LandingFactory
from actors.dimse.scu import DimseSource
from actors.files.source import FileTree
from actors.options import AnySource, DicomwebSource, FilesSource
from actors.options import DimseSource as DimseOptions
from actors.source import Source
from actors.web.source import WebSource
from storage.ledger.ledger import Ledger


def open_source(
    options: AnySource,
    source_id: int,
    ledger: Ledger,
    handler: InstanceHandler = nobody,
    landing: LandingFactory | None = None,
) -> Source:
    """A conversation with the source. `handler` gets what a source hands over itself, put down in `landing` where it
    has to be; a PACS that is asked by C-MOVE sends to a receiver."""
    match options:
        case DimseOptions():
            return DimseSource(options, handler, landing)
        case FilesSource():
            return FileTree(options.roots, source_id, ledger, handler)
        case DicomwebSource():
            return WebSource(options, handler, landing)
    assert_never(options)
