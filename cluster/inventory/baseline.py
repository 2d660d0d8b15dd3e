"""What is held against the archive's answers: a CSV from its database, or a DICOM Inventory it made of itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.files.inventories import Inventory, UnusableInventory, is_inventory
from actors.source import StudyFound
from cluster.inventory.export import UnusableExport, open_export, read_export


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Studies that are said to be there; `close` it when they were read."""

    path: Path
    studies: Iterator[StudyFound | None]
    told: Callable[[], Mapping[str, Any]]
    """What it says about itself, once the studies were read; for the summary."""
    close: Callable[[], None]


def open_baseline(path: Path, columns: Mapping[str, str], charset: str) -> Baseline:
    """The file's kind is told by its bytes; a folder is one of Inventories. `columns` are those of a CSV that are
    called otherwise, `charset` is for text of an Inventory that declares none.

    Raises
    ------
    UnusableExport
        As the studies are read, too.
    """
    if not path.is_dir() and not is_inventory(path):
        file = open_export(path)
        return Baseline(path=path, studies=read_export(file, columns), told=dict, close=file.close)
    if columns:
        raise UnusableExport("is a DICOM Inventory, whose fields need no --column")
    try:
        inventory = Inventory(path, charset)
    except UnusableInventory as error:
        raise UnusableExport(f": {error}") from None

    def studies() -> Iterator[StudyFound | None]:
        try:
            yield from inventory.studies()
        except UnusableInventory as error:
            raise UnusableExport(f": {error}") from None

    def told() -> dict[str, Any]:
        return {
            "inventory_files": inventory.parts,
            "inventory_complete": inventory.complete,
            "inventory_removed": inventory.removed,
            "inventory_superseded": inventory.superseded,
        }

    return Baseline(path=path, studies=studies(), told=told, close=lambda: None)
