"""A PACS that runs anywhere, tells the truth, and lies on demand.

    with Simulator(synthetic_archive(studies=20), destinations={"LIMOSA": ("127.0.0.1", 11112)}) as pacs:
        ...                                     # C-FIND and C-MOVE against pacs.port
        pacs.faults = Faults(find_cap=100)      # from now on

`pacs.archive.manifest()` says what it truly holds, `pacs.stats` what it did.
"""

from infra.simulator.archive import Archive, Instance, Manifest
from infra.simulator.faults import CapEnd, Counts, Faults, Order, Originator, Uids
from infra.simulator.simulator import Simulator
from infra.simulator.stats import MoveRecord, Stats
from infra.simulator.synthetic import synthetic_archive
from infra.simulator.testfiles import folder_archive, test_file_archive
from infra.simulator.workloads import big_archive, workload_archive

__all__ = [
    "Archive",
    "CapEnd",
    "Counts",
    "Faults",
    "Instance",
    "Manifest",
    "MoveRecord",
    "Order",
    "Originator",
    "Simulator",
    "Stats",
    "Uids",
    "big_archive",
    "folder_archive",
    "synthetic_archive",
    "test_file_archive",
    "workload_archive",
]
