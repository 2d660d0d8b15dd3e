"""The usual way in Python: pynetdicom moves into its own storage SCP, pydicom saves, boto3's `upload_file` uploads.

One process; each association's C-STOREs are decoded, edited where asked, saved as a file and uploaded by a thread pool
while the next ones arrive, which is how such scripts are written when somebody cares how fast they are. There is no
ledger, no digest and no resuming.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    evt,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove,  # pyright: ignore[reportAttributeAccessIssue]
)

from perf.peers.usual import UPLOADERS, Task, client, converse, in_lanes, transfer

LARGEST_PDU = 131072


class Mover:
    """Associations, files and uploads of one migration."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._s3 = client(task)
        self._transfer = transfer()
        self._pool = ThreadPoolExecutor(UPLOADERS)
        self._lock = threading.Lock()
        self._uploads: list[Future[None]] = []
        self._receiver = AE(ae_title=task.own_ae)
        self._receiver.maximum_pdu_size = LARGEST_PDU
        self._receiver.maximum_associations = 64
        for context in AllStoragePresentationContexts:
            self._receiver.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        self._server = self._receiver.start_server(
            ("127.0.0.1", task.own_ports[0]), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self._requestor = AE(ae_title=task.own_ae)
        self._requestor.maximum_pdu_size = LARGEST_PDU
        self._requestor.add_requested_context(StudyRootQueryRetrieveInformationModelMove)

    def move(self, studies: Sequence[str]) -> int:
        """Every instance of the studies is uploaded; how many there were."""
        in_lanes(self._task.associations, studies, self._lane)
        with self._lock:
            uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()
        return len(uploads)

    def _lane(self, number: int, studies: Iterator[str]) -> None:
        association = self._requestor.associate(
            "127.0.0.1", self._task.source_port, ae_title=self._task.source_ae, max_pdu=LARGEST_PDU
        )
        for study in studies:
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            query.StudyInstanceUID = study
            for _ in association.send_c_move(query, self._task.own_ae, StudyRootQueryRetrieveInformationModelMove):
                pass
        association.release()

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        for keyword, value in self._task.coercion.items():
            setattr(dataset, keyword, value)
        path = self._task.place / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        with self._lock:
            self._uploads.append(self._pool.submit(self._upload, str(path), path.name))
        return 0x0000

    def _upload(self, path: str, key: str) -> None:
        self._s3.upload_file(path, self._task.bucket, key, Config=self._transfer)


def main() -> None:
    task = Task.told()
    converse(Mover(task).move, task)


if __name__ == "__main__":
    main()
