"""Peers that negotiate all there is to negotiate, and archives told to send by others, deliver to the receiver."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydantic import ValidationError
from pydicom.data import get_testdata_file
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.options import Receiver as ReceiverOptions
from infra.simulator import synthetic_archive
from infra.simulator.peers import DcmqrscpPeer
from infra.simulator.process import free_port
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
STORAGE = "1.2.840.10008.5.1.4.1.1"
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"


class Inbox:
    """A receiver and what it got: transfer syntax by SOP Instance UID."""

    def __init__(self, folder: Path) -> None:
        self.got: dict[str, str] = {}
        place = LandingPlace(Spool(folder), MemoryBudget(64 << 20), 8 << 20)
        options = ReceiverOptions(ae_title="LIMOSA", port=free_port(), callers=("ARCHIVE", "PACS", "DCMQRSCP"))
        self.receiver = Receiver(options, place.open, self._take)
        self.receiver.start()

    def _take(self, incoming: Incoming) -> int:
        self.got[incoming.sop_uid] = incoming.transfer_syntax
        return 0


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "spool")
    yield inbox
    assert inbox.receiver.stop(timedelta(seconds=5))


def everything_negotiable() -> list[object]:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 0
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"archive", b"a passcode"
    identity.positive_response_requested = True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\3\0\0\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    return [window, identity, extended, common, build_role(CT, scu_role=True, scp_role=True)]


def test_a_peer_that_negotiates_everything_there_is_delivers(inbox: Inbox) -> None:
    dataset, entity = pydicom.dcmread(get_testdata_file("CT_small.dcm")), AE(ae_title="ARCHIVE")
    # As dcm4che proposes: one context per class and stored syntax, and one with what it could convert to.
    entity.requested_contexts = [
        *(build_context(f"{STORAGE}.{n}", syntax) for n in range(1, 41) for syntax in (JPEG_LOSSLESS, JPEG_2000)),
        *(build_context(f"{STORAGE}.{n}", [IMPLICIT_LE, JPEG_LOSSLESS, EXPLICIT_LE]) for n in range(1, 41)),
        *(build_context(f"1.2.840.113619.4.{n}", [EXPLICIT_LE, IMPLICIT_LE]) for n in range(8)),
    ]

    association = entity.associate("127.0.0.1", inbox.receiver.port, ae_title="LIMOSA", ext_neg=everything_negotiable())
    try:
        assert association.is_established
        accepted = association.accepted_contexts
        window = association.acceptor.asynchronous_operations
        roles = association.acceptor.role_selection
        identity = association.acceptor.user_identity
        status = association.send_c_store(dataset)
    finally:
        association.release()

    assert [len(context.transfer_syntax) for context in accepted] == [1] * 128
    assert sorted({context.transfer_syntax[0] for context in accepted}) == sorted(
        (EXPLICIT_LE, JPEG_LOSSLESS, JPEG_2000)
    )
    assert (window, identity) == ((1, 1), None)
    assert [(role.scu_role, role.scp_role) for role in roles.values()] == [(True, False)]
    assert status.Status == 0
    assert inbox.got == {dataset.SOPInstanceUID: EXPLICIT_LE}


@pytest.mark.peer("dcmtk")
def test_an_archive_that_movescu_told_to_send_delivers_a_whole_study(inbox: Inbox, tmp_path: Path) -> None:
    files = synthetic_archive(studies=1, modalities=("CT",), instances=3, side=16).export(tmp_path / "files")
    study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    known = {"LIMOSA": ("127.0.0.1", inbox.receiver.port)}
    peer = DcmqrscpPeer(tmp_path / "dcmqrscp", port=free_port(), destinations=known)
    loaded = peer.load(files)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}"]
    command = ["movescu", "-S", "-aet", "LIMOSA", "-aem", "LIMOSA", "-aec", peer.ae, *keys, "127.0.0.1", str(peer.port)]

    with peer:
        done = subprocess.run(command, capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert len(loaded) == len(inbox.got) == len(files)
    assert inbox.receiver.stats.aborted == {}


def test_addresses_that_are_none_are_refused_with_the_settings() -> None:
    with pytest.raises(ValidationError, match="allow"):
        ReceiverOptions(ae_title="LIMOSA", port=104, allow=("10.1.2.300",))
