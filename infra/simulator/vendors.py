"""Private blocks as scanners write them: real creators and layouts, invented values."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Vendor:
    """A maker, a model, and what it hides in private blocks."""

    manufacturer: str
    model: str
    software: str
    add_private: Callable[[Dataset, int], None]


def _ge(dataset: Dataset, number: int) -> None:
    dataset.private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(0x01, "LO", "GE_GENESIS_FF")
    acquisition = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    acquisition.add_new(0x23, "DS", "39.37")
    acquisition.add_new(0x27, "DS", "1.000000")
    parameters = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    parameters.add_new(0x27, "SH", "/0.984:1" if number % 2 else "0.984:1")
    parameters.add_new(0x4E, "FL", 4.25)
    helios = dataset.private_block(0x0045, "GEMS_HELIOS_01", create=True)
    helios.add_new(0x01, "SS", 16)
    helios.add_new(0x02, "FL", 1.25)


def _toshiba(dataset: Dataset, number: int) -> None:
    block = dataset.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True)
    block.add_new(0x08, "DS", "0.5")
    block.add_new(0x09, "LO", "1" * 64)
    block.add_new(0x0A, "DS", "26.5")
    block.add_new(0x23, "DS", "0.828")
    block.add_new(0x40, "FD", 512.25 + number)
    # Archives that do not know the element turn FD into UN; its bytes stay little endian.
    block.add_new(0x63, "UN", struct.pack("<d", 14.75))


def _philips_ct(dataset: Dataset, number: int) -> None:
    dataset.private_block(0x00E1, "Philips Test Reserved", create=True).add_new(0x01, "LO", "FIRST BLOCK")
    block = dataset.private_block(0x00E1, "ELSCINT1", create=True)
    block.add_new(0x21, "DS", f"{420.5 + number:.2f}")
    block.add_new(0x50, "DS", "7.5")
    dataset.private_block(0x01E1, "ELSCINT1", create=True).add_new(0x26, "CS", "32 CM")
    scan = dataset.private_block(0x01F1, "ELSCINT1", create=True)
    scan.add_new(0x01, "CS", "SPIRAL")
    scan.add_new(0x08, "DS", "310.0")
    scan.add_new(0x27, "DS", "0.75")


def _siemens(dataset: Dataset, number: int) -> None:
    csa = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    csa.add_new(0x08, "CS", "IMAGE NUM 4")
    csa.add_new(0x10, "OB", b"SV10\x04\x03\x02\x01" + bytes((number * 7 + place) % 251 for place in range(504)))
    csa.add_new(0x20, "OB", b"SV10\x04\x03\x02\x01" + bytes(place % 239 for place in range(248)))
    dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "HEA;HEP")


def _philips_us(dataset: Dataset, number: int) -> None:
    item = Dataset()
    item.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x01, "FL", float(number))
    dataset.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x69, "SQ", Sequence([item]))


def _agfa(dataset: Dataset, number: int) -> None:
    block = dataset.private_block(0x0019, "AGFA", create=True)
    block.add_new(0x10, "SH", f"AGFA{number:04}")
    block.add_new(0x15, "DS", "2.35")


def _migrated(dataset: Dataset, number: int) -> None:
    """An older migration left the original identity behind, and its creator has no elements left in one group."""
    block = dataset.private_block(0x0907, "GEIIS", create=True)
    block.add_new(0x10, "UI", f"1.2.999.1.{number + 1}")
    dataset.private_block(0x3109, "Test Empty Creator", create=True)


def _plain(dataset: Dataset, number: int) -> None:
    """A maker that hides nothing."""


GE = Vendor("GE MEDICAL SYSTEMS", "LightSpeed Test", "07MW11.10", _ge)
TOSHIBA = Vendor("TOSHIBA", "Aquilion Test", "V4.86", _toshiba)
PHILIPS = Vendor("Philips", "Brilliance Test", "3.6.6", _philips_ct)
SIEMENS = Vendor("SIEMENS", "Avanto Test", "syngo MR B17", _siemens)
PHILIPS_US = Vendor("Philips Medical Systems", "EPIQ Test", "4.0.5", _philips_us)
AGFA = Vendor("AGFA", "CR Test", "NIM2.1", _agfa)
HOLOGIC = Vendor("HOLOGIC, Inc.", "Selenia Test", "AWS:1.8.3", _migrated)
WORKSTATION = Vendor("Test Workstation Maker", "Reading Station", "1.0", _plain)
