"""What the way of asking costs: C-MOVE, C-GET and WADO-RS, one after the other on one connection, to the last digest.

Asking and receiving are in this process for all of them, with the mover's landing and all four digests; nothing is
packed or written. `retrieve-simulator`: the simulator by C-MOVE and C-GET. `retrieve-orthanc`: Orthanc (Nagle off) by
those and by WADO-RS, a study in an answer or an instance in an answer.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from actors.dimse.receiver import Receiver
from actors.dimse.scu import DimseSource
from actors.options import DicomwebSource, MoverLimits
from actors.options import Receiver as ReceiverOptions
from actors.source import MoveEnd, MoveTarget
from actors.source import Source as Asked
from actors.web.source import WebSource
from imaging.uid import Uid
from infra.simulator.peers import ORTHANC_WEB
from perf.corpus import Corpus
from perf.harness import Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.peers.limosa_receiver import Stock, take_facts
from perf.servers import Servers
from perf.sources import WITHOUT_NAGLE, Orthanc, Simulated, Source, asked
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

AE_TITLE = "LIMOSA"

Way = Literal["c-move", "c-get", "wado-rs", "wado-rs, by instance"]


class Retrieved:
    """Every study of a source, asked for in one way."""

    associations, processes = 1, 1

    def __init__(self, servers: Servers, source: Source, way: Way, about: str) -> None:
        self.name: str = way
        self.about = about
        self._way = way
        self._servers, self._source = servers, source
        self._stack = ExitStack()
        self._stock = Stock(take_facts)
        self._asked: Asked | None = None

    def prepare(self) -> None:
        self._servers.start(self._source)
        limits = MoverLimits()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="limosa-bench-"))
        spool = Spool(Path(folder))
        self._stack.callback(spool.close)
        place = LandingPlace(spool, MemoryBudget(limits.memory), limits.in_memory_instance)
        if self._way == "c-move":
            # Not validated: a job file has to name a port, a benchmark takes any that is free.
            options = ReceiverOptions.model_construct(ae_title=AE_TITLE, host="127.0.0.1", port=0, allow=(), callers=())
            receiver = Receiver(options, place.open, self._stock.handle)
            receiver.start()
            self._stack.callback(receiver.stop)
            self._source.register(AE_TITLE, receiver.port)
            self._asked = DimseSource(asked(self._source))
        elif self._way == "c-get":
            self._asked = DimseSource(asked(self._source, retrieve="c-get"), self._stock.handle, place.open)
        else:
            assert isinstance(self._source, Orthanc)
            self._asked = WebSource(
                DicomwebSource.model_validate({"url": self._source.web_url}), self._stock.handle, place.open
            )
        self._stack.callback(self._asked.close)

    def once(self) -> Sample:
        assert self._asked is not None
        corpus = self._source.corpus
        before = cpu_seconds(self._source.pids)
        with Meter((os.getpid(),)) as meter:
            for study in map(Uid, corpus.manifest.study_uids):
                listed = self._asked.list_instances(study)
                target = MoveTarget(study_uid=study)
                if self._way == "wado-rs, by instance":
                    uids = tuple(ref.sop_uid for ref in listed.instances)
                    target = MoveTarget(study_uid=study, series_uid=listed.instances[0].series_uid, sop_uids=uids)
                outcome = self._asked.retrieve(target, AE_TITLE, lambda: False)
                if outcome.end is not MoveEnd.SUCCESS:
                    raise Wrong(f"a retrieve ended with {outcome.end}")
        sender = cpu_seconds(self._source.pids) - before
        held = self._stock.answer("held")
        if held != {"instances": len(corpus.manifest), "bytes": corpus.size}:
            raise Wrong(f"holds {held}")
        for uid, digest in corpus.raw1.items():
            if self._stock.answer(f"raw1 {uid}") != {"raw1": digest.hex()}:
                raise Wrong("holds other bytes than were sent")
        self._stock.answer("clear")
        return Sample(
            seconds=meter.cost.seconds,
            bytes=corpus.size,
            objects=len(corpus.manifest),
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            sender_cpu_seconds=sender,
        )

    def close(self) -> None:
        self._stack.close()
        self._servers.close()


def _corpus(scale: Scale, side: int, most: int) -> Corpus:
    return Corpus(studies={Scale.QUICK: 2, Scale.FULL: most}[scale], instances=40, side=side, seed=9)


def _simulated(side: int, most: int) -> Callable[[Scale], Sequence[Subject]]:
    def subjects(scale: Scale) -> Sequence[Subject]:
        source = Simulated(_corpus(scale, side, most))
        servers = Servers(source)
        return [
            Retrieved(servers, source, "c-move", "the archive calls a receiver of this process"),
            Retrieved(servers, source, "c-get", "the archive sends on the association that asks"),
        ]

    return subjects


def _orthanc(side: int, most: int) -> Callable[[Scale], Sequence[Subject]]:
    def subjects(scale: Scale) -> Sequence[Subject]:
        source = Orthanc(_corpus(scale, side, most), WITHOUT_NAGLE, **ORTHANC_WEB)
        servers = Servers(source)
        return [
            Retrieved(servers, source, "c-move", "Orthanc calls a receiver of this process"),
            Retrieved(servers, source, "c-get", "Orthanc sends on the association that asks"),
            Retrieved(servers, source, "wado-rs", "a study in one answer"),
            Retrieved(servers, source, "wado-rs, by instance", "an answer for each instance"),
        ]

    return subjects


SCENARIOS = tuple(
    Scenario(
        name=f"retrieve-{who}-{load}",
        title=f"{what} from {title}, asked for in several ways, one connection, until the last digest",
        subjects=made(side, most),
        quick=False,
    )
    for who, title, made in (("simulator", "the simulator", _simulated), ("orthanc", "Orthanc", _orthanc))
    for load, what, side, most in (("tiny", "20 KB slices", 100, 20), ("ct", "0.5 MB slices", 512, 8))
)
