"""Opens a job's source outside of movers: to ask it, or to have it send to this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.dimse.incoming import InstanceHandler, nobody
from actors.dimse.receiver import Receiver
from actors.dimse.tls import receiver_context
from actors.opening import open_source
from actors.source import Source
from cluster.job import Job
from cluster.registry import register_job
from storage.budget import MemoryBudget
from storage.ledger.ledger import Ledger
from storage.spool import LandingPlace, Spool

MEMORY = 64 << 20
IN_MEMORY = 8 << 20
"""Bytes: the machine is shared with whatever else runs there; larger instances go to the spool."""


@contextmanager
def asking(job: Job, ledger: Ledger, handler: InstanceHandler = nobody) -> Iterator[Source]:
    """A conversation with the job's source; `handler` gets what a source without receivers hands over."""
    source_id = register_job(job, ledger).sources[job.source.name]
    spool = Spool(job.state_dir / "sample")
    place = LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY)
    source = open_source(job.source, source_id, ledger, handler, place.open)
    try:
        yield source
    finally:
        source.close()
        spool.close()


@contextmanager
def receiving(job: Job, ledger: Ledger, handler: InstanceHandler) -> Iterator[tuple[Source, str]]:
    """A conversation with the source and the AE title to which it sends what `handler` then gets. The caller holds the
    job: a mover that shares the port would get it otherwise.

    Raises
    ------
    OSError
        The receiver's address cannot be had.
    """
    if not job.receivers:
        with asking(job, ledger, handler) as source:
            yield source, ""
        return
    spool = Spool(job.state_dir / "sample")
    options = job.receivers[0]
    tls = None if options.tls is None else receiver_context(options.tls)
    receiver = Receiver(options, LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY).open, handler, tls=tls)
    try:
        receiver.start()
        with asking(job, ledger) as source:
            yield source, options.ae_title
    finally:
        receiver.stop()
        spool.close()
