"""Real archives as further peers: dcmtk's dcmqrscp, Orthanc, and pynetdicom's qrscp, where they are installed.

Each starts in a folder of its own, is ready by condition and stopped by process id. `load` puts Part-10 files in
and says which were taken.
"""

import http.client
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydicom.filereader import read_file_meta_info
from pynetdicom.ae import ApplicationEntity as AE

from infra.simulator.process import Child, NotReady, free_port, listens

DCMTK_ENVIRONMENT = {"TCP_NODELAY": "1"}
"""Debian's dcmtk leaves Nagle on; without this every small instance costs 40 ms, whoever receives it."""
LOAD_TIMEOUT = 600.0

ORTHANC_WEB: Mapping[str, Any] = {
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
}
"""Settings of an Orthanc that speaks DICOMweb, too, with Debian's plugin."""

Destinations = Mapping[str, tuple[str, int]]


class _Peer:
    """What the peers have in common: a folder, a port, a child process."""

    def __init__(self, folder: Path, ae: str, port: int) -> None:
        self.folder = folder = folder.resolve()
        self.ae = ae
        self.port = port or free_port()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> Self:
        raise NotImplementedError

    def stop(self) -> None:
        """The process is gone; what it holds stays in the folder."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._child = Child(command, self.folder / "output.log", environment)
        self._child.wait_until(lambda: listens(self.port))


class DcmqrscpPeer(_Peer):
    """dcmtk's central test node. It sends uncompressed syntaxes only, and does not say how many instances it has."""

    def __init__(self, folder: Path, ae: str = "DCMQRSCP", port: int = 0, destinations: Destinations | None = None):
        super().__init__(folder, ae, port)
        self._destinations = destinations or {}
        self._storage = self.folder / "storage"

    @staticmethod
    def installed() -> bool:
        return shutil.which("dcmqrscp") is not None and shutil.which("dcmqridx") is not None

    def load(self, files: Sequence[Path]) -> tuple[Path, ...]:
        """The files its indexer took, copied into its storage."""
        self._storage.mkdir(parents=True, exist_ok=True)
        taken: list[Path] = []
        for number, file in enumerate(files):
            place = self._storage / f"{number:08}.dcm"
            shutil.copyfile(file, place)
            done = subprocess.run(
                ["dcmqridx", str(self._storage), str(place)], capture_output=True, timeout=LOAD_TIMEOUT, check=False
            )
            if done.returncode == 0 and b"E:" not in done.stderr:
                taken.append(file)
        return tuple(taken)

    def start(self) -> Self:
        self._storage.mkdir(parents=True, exist_ok=True)
        hosts = "\n".join(f"{ae} = ({ae}, {host}, {port})" for ae, (host, port) in self._destinations.items())
        config = self.folder / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
            f"HostTable BEGIN\n{hosts}\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f'AETable BEGIN\n{self.ae} "{self._storage}" RW (100000, 1000000mb) ANY\nAETable END\n'
        )
        self._launch(["dcmqrscp", "-c", str(config), str(self.port)], DCMTK_ENVIRONMENT)
        return self


class OrthancPeer(_Peer):
    """Orthanc with its REST port; further settings by name, as its documentation spells them."""

    def __init__(
        self,
        folder: Path,
        ae: str = "ORTHANC",
        port: int = 0,
        http_port: int = 0,
        destinations: Destinations | None = None,
        environment: Mapping[str, str] = DCMTK_ENVIRONMENT,
        **settings: Any,
    ) -> None:
        super().__init__(folder, ae, port)
        self.http_port = http_port or free_port()
        self._environment = environment
        self._settings: dict[str, Any] = {
            "Name": "Limosa test peer",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": ae,
            "DicomPort": self.port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "DicomModalities": {name: [name, *address] for name, address in (destinations or {}).items()},
            "StoreMD5ForAttachments": False,
            "Plugins": [],
        } | settings

    @property
    def web_url(self) -> str:
        """Where its DICOMweb services are, if it was started with `ORTHANC_WEB`."""
        return f"{self.rest_url}/dicom-web"

    @property
    def rest_url(self) -> str:
        """Where its own REST API is."""
        return f"http://127.0.0.1:{self.http_port}"

    @staticmethod
    def installed() -> bool:
        return _orthanc() is not None

    def start(self) -> Self:
        program = _orthanc()
        if program is None:
            raise NotReady("Orthanc is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._settings, indent=2))
        self._launch([program, str(config)], self._environment)
        if self._child is not None:
            self._child.wait_until(lambda: listens(self.http_port))
        return self

    def know(self, ae: str, host: str, port: int) -> None:
        """`ae` can be moved to from now on, until it is restarted; an earlier address of it is forgotten."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=LOAD_TIMEOUT)
        connection.request("PUT", f"/modalities/{ae}", body=json.dumps({"AET": ae, "Host": host, "Port": port}))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != http.client.OK:
            raise NotReady(f"Orthanc does not take a modality: {answer.status}")

    def load(self, files: Sequence[Path]) -> tuple[Path, ...]:
        """The files it stored, one upload each; it must be running."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=LOAD_TIMEOUT)
        taken: list[Path] = []
        for file in files:
            connection.request("POST", "/instances", body=file.read_bytes())
            answer = connection.getresponse()
            answer.read()
            if answer.status == http.client.OK:
                taken.append(file)
        connection.close()
        return tuple(taken)


class QrscpPeer(_Peer):
    """pynetdicom's qrscp application; needs SQLAlchemy. It names itself as Move Originator."""

    def __init__(self, folder: Path, ae: str = "QRSCP", port: int = 0, destinations: Destinations | None = None):
        super().__init__(folder, ae, port)
        self._destinations = destinations or {}

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("sqlalchemy") is not None

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "qrscp.ini"
        sections = [f"[{ae}]\naddress: {host}\nport: {port}\n" for ae, (host, port) in self._destinations.items()]
        config.write_text(
            f"[DEFAULT]\nae_title: {self.ae}\nport: {self.port}\nmax_pdu: 131072\nacse_timeout: 30\n"
            f"dimse_timeout: 300\nnetwork_timeout: 300\nbind_address: 127.0.0.1\nlog_identifier: False\n"
            f"instance_location: {self.folder / 'instances'}\ndatabase_location: {self.folder / 'index.sqlite'}\n\n"
            + "\n".join(sections)
        )
        self._launch([sys.executable, "-m", "pynetdicom", "qrscp", "-q", "-c", str(config)])
        return self

    def load(self, files: Sequence[Path]) -> tuple[Path, ...]:
        """The files it stored by C-STORE, over one association; it must be running."""
        metas = {file: read_file_meta_info(file) for file in files}
        scu = AE()
        pairs = {(str(m.MediaStorageSOPClassUID), str(m.TransferSyntaxUID)) for m in metas.values()}
        for sop_class, syntax in sorted(pairs):
            scu.add_requested_context(sop_class, syntax)
        association = scu.associate("127.0.0.1", self.port, ae_title=self.ae)
        if not association.is_established:
            raise NotReady("qrscp accepts no association")
        taken: list[Path] = []
        for file in files:
            status = association.send_c_store(file)
            if status and status.Status == 0:
                taken.append(file)
        association.release()
        return tuple(taken)


def _orthanc() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
