"""PACS that scenarios move from, each in a process of its own."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from actors.options import DimseSource
from infra.simulator.archive import Archive
from infra.simulator.peers import DCMTK_ENVIRONMENT, OrthancPeer
from infra.simulator.process import NotReady, SimulatorProcess
from perf.corpus import Corpus
from perf.harness import NotRun, Wrong

MOST_MOVES = 64
"""C-MOVEs at once that a source is said to stand: only the movers' lanes limit them."""
QUIET = timedelta(milliseconds=500)
"""These sources tell the truth about what comes, so stragglers need not be waited for long."""
AS_SHIPPED: Mapping[str, str] = {}
"""Orthanc's own environment: its sender leaves Nagle's algorithm on."""
WITHOUT_NAGLE = DCMTK_ENVIRONMENT
ORTHANC_THREADS = 16
"""DicomThreadsCount. Its default of 4 would cap parallel C-MOVEs, and is the first thing a migration raises."""


class Source(Protocol):
    """Started by the first subject that needs it; calls after `start` start nothing anew."""

    ae_title: str
    corpus: Corpus

    def start(self, folder: Path) -> None:
        """It answers. Idempotent. Raises `NotRun`."""
        ...

    @property
    def port(self) -> int: ...

    @property
    def pids(self) -> tuple[int, ...]: ...

    def register(self, ae_title: str, port: int) -> None:
        """What is moved to `ae_title` goes to this port of this machine."""
        ...

    def stop(self) -> None:
        """Idempotent, also before `start`."""
        ...


def asked(source: Source, **changes: Any) -> DimseSource:
    """The source as a job file would describe it."""
    chosen: dict[str, Any] = {"associations": MOST_MOVES, "quiet": QUIET} | changes
    return DimseSource(host="127.0.0.1", port=source.port, ae_title=source.ae_title, **chosen)


class Simulated:
    """The simulator, instances encoded once and kept; `faults` are knobs of `infra.simulator.Faults`."""

    ae_title = "SIMPACS"

    def __init__(self, corpus: Corpus, **faults: Any) -> None:
        self.corpus = corpus
        self._faults = faults
        self._process: SimulatorProcess | None = None

    def start(self, folder: Path) -> None:
        if self._process is None:
            process = SimulatorProcess(self.corpus.specs, ae_title=self.ae_title, log=folder / "simulator.log")
            self._process = process.start()
            process.control.set_faults(**self._faults)

    @property
    def port(self) -> int:
        return self._started.port

    @property
    def pids(self) -> tuple[int, ...]:
        pid = self._started.pid
        return () if pid is None else (pid,)

    def register(self, ae_title: str, port: int) -> None:
        self._started.control.ask("destination", ae=ae_title, host="127.0.0.1", port=port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    @property
    def _started(self) -> SimulatorProcess:
        if self._process is None:
            raise ValueError("not started")
        return self._process


class Orthanc:
    """Orthanc, loaded with the corpus, in the given environment; `settings` as its documentation spells them."""

    ae_title = "ORTHANC"

    def __init__(self, corpus: Corpus, environment: Mapping[str, str], **settings: Any) -> None:
        self.corpus = corpus
        self._environment = environment
        self._settings = settings
        self._peer: OrthancPeer | None = None

    def start(self, folder: Path) -> None:
        if self._peer is not None:
            return
        if not OrthancPeer.installed():
            raise NotRun("Orthanc is not installed")
        loaded = _loaded(self.corpus, folder)
        own = folder / f"orthanc-{len(list(folder.glob('orthanc-*')))}"
        shutil.copytree(loaded, own)
        try:
            settings = {"DicomThreadsCount": ORTHANC_THREADS, **self._settings}
            self._peer = OrthancPeer(own, environment=self._environment, **settings).start()
        except NotReady as error:
            raise NotRun(f"Orthanc did not start: {error}") from error

    @property
    def port(self) -> int:
        return self._started.port

    @property
    def web_url(self) -> str:
        """Where its DICOMweb services are, with `ORTHANC_WEB` among the settings."""
        return self._started.web_url

    @property
    def pids(self) -> tuple[int, ...]:
        pid = self._started.pid
        return () if pid is None else (pid,)

    def register(self, ae_title: str, port: int) -> None:
        self._started.know(ae_title, "127.0.0.1", port)

    def stop(self) -> None:
        if self._peer is not None:
            self._peer.stop()
            self._peer = None

    @property
    def _started(self) -> OrthancPeer:
        if self._peer is None:
            raise ValueError("not started")
        return self._peer


def _loaded(corpus: Corpus, folder: Path) -> Path:
    """A folder with an Orthanc's storage that holds the corpus; made once below `folder`."""
    place = folder / "loaded"
    if place.exists():
        return place
    files = Archive([*corpus.manifest, *corpus.warm]).export(folder / "files")
    with OrthancPeer(place) as peer:
        if len(peer.load(files)) != len(files):
            raise Wrong("Orthanc did not take every file")
    shutil.rmtree(folder / "files")
    return place
