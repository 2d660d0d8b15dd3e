"""The demo's archive: what it holds, and what it and its neighbours do wrong on purpose."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.demo_folder import DemoFolder
from infra.embedded.process import Identity, choose_ports
from infra.simulator.archive import Instance, Manifest
from infra.simulator.content import HeldContent
from infra.simulator.process import SimulatorProcess
from infra.simulator.specs import archive_from
from infra.simulator.store import StoreAssociation
from infra.simulator.synthetic import synthetic_archive

ARCHIVE_AE = "SIMPACS"
RECEIVER_AE = "LIMOSA"
STRANGER_AE = "STRANGER"
"""A device in the house that sends to our AE title without being asked."""

STRANGER_SEED = 4711
"""Another seed than the archive's, so that the stranger's study is unknown to it."""

STORE_PDU = 16_384
"""What most devices send, whatever they are offered."""

DAMAGED_BYTES = 90
"""Where the damaged image breaks off: within its first elements, long before its pixels."""

BROKEN_SAMPLES = ("bad_sequence.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm")
"""Samples of pydicom that are no valid DICOM on purpose. They would be exceptions like the staged ones, and which of
them are there depends on pydicom's version."""

BROKEN_UID = "2.25.4711"
"""The SOP Instance UID of the damaged image."""

STAGED: dict[str, str] = {
    "INCOMPLETE_STUDY": "the archive lists one image of a study and never sends it",
    "UNSOLICITED": "a device sends an image that nobody asked for",
    "MALFORMED_INSTANCE": "a device sends an image whose dataset breaks off",
}
"""The exceptions a demo ends with, one of each, and who causes them."""

STORED, NOT_UNDERSTOOD = 0x0000, 0xC000


class StagingFailed(Exception):
    """The receiver did not answer the staged images as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoArchive:
    """What the archive truly holds, and the one image it keeps to itself."""

    manifest: Manifest
    unsent: Instance

    @property
    def undated(self) -> int:
        """Studies without a date: no question about dates finds them."""
        return sum(not self.manifest.of_study(uid)[0].attributes.get(0x00080020) for uid in self.manifest.study_uids)

    @property
    def syntaxes(self) -> int:
        return len({instance.transfer_syntax for instance in self.manifest})


def demo_archive(studies: int) -> DemoArchive:
    """The archive that `launched_archive` serves; equal numbers give equal archives."""
    return DemoArchive(manifest=archive_from(specs(studies)).manifest(), unsent=unsent_image(studies))


def specs(studies: int) -> tuple[str, ...]:
    """pydicom's sample files and `studies` generated studies."""
    return (f"testfiles:{'+'.join(BROKEN_SAMPLES)}", f"synthetic:studies={studies}")


def unsent_image(studies: int) -> Instance:
    """The image that the archive lists and never sends: one of the largest generated study."""
    made = synthetic_archive(studies=studies).manifest()
    largest = max(made.study_uids, key=lambda uid: len(made.of_study(uid)))
    return max(made.of_study(largest), key=lambda instance: instance.sop_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Loopback ports of the demo: the archive's and our receiver's."""

    archive: int
    receiver: int


def free_ports() -> Ports:
    """Two that are free now; they stay the demo's in its job file."""
    archive, receiver = choose_ports(2)
    return Ports(archive=archive, receiver=receiver)


@contextmanager
def launched_archive(folder: DemoFolder, studies: int, ports: Ports) -> Iterator[SimulatorProcess]:
    """The archive's process exists, and ends with the block; `folder.archive_script` starts it again another day."""
    folder.faults.write_text(f'lost_sop_uids = ["{unsent_image(studies).sop_uid}"]\n', encoding="ascii")
    process = SimulatorProcess(
        specs(studies),
        ae_title=ARCHIVE_AE,
        destinations={RECEIVER_AE: ("127.0.0.1", ports.receiver)},
        faults=folder.faults,
        port=ports.archive,
        log=folder.archive_log,
    )
    folder.archive_script.write_text(f"#!/bin/sh\nexec {shlex.join(process.command)}\n", encoding="utf-8")
    folder.archive_script.chmod(0o700)
    try:
        process.launch()
        identity = Identity.of(process.pid) if process.pid else None
        if identity is not None:
            # A demo that is killed leaves the archive behind; the next one in this folder ends it.
            identity.write(folder.archive_pid)
        yield process
    finally:
        process.stop()
        folder.archive_pid.unlink(missing_ok=True)


def send_unasked(port: int) -> None:
    """A stranger has sent two images to our receiver: a whole one, and one whose dataset breaks off.

    Raises
    ------
    StagingFailed
        The whole one was not taken, or the broken one was.
    Refused, ConnectionEnded
        The receiver could not be reached.
    """
    image = next(iter(synthetic_archive(studies=1, seed=STRANGER_SEED).manifest()))
    pair = (image.sop_class, image.transfer_syntax)
    broken = HeldContent(image.dataset()[:DAMAGED_BYTES])
    association = StoreAssociation.open(
        ("127.0.0.1", port),
        STRANGER_AE,
        RECEIVER_AE,
        [pair],
        longest_pdu=STORE_PDU,
        small_writes=False,
        bandwidth=None,
    )
    taken = association.store(pair, image.sop_uid, image.content, 1, None)
    refused = association.store(pair, BROKEN_UID, broken, 2, None)
    association.release()
    if (taken, refused) != (STORED, NOT_UNDERSTOOD):
        raise StagingFailed(f"the receiver answered {taken:04X} and {refused:04X} to a stranger's two images")
