"""Opens a job's source outside of movers: to ask it, or to have it send to this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.dimse.incoming import InstanceHandler
from actors.dimse.receiver import Receiver
from actors.dimse.scu import DimseSource
from actors.dimse.tls import receiver_context
from actors.source import Source
from cluster.job import Job
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

MEMORY = 64 << 20
IN_MEMORY = 8 << 20
"""Bytes: the machine is shared with whatever else runs there; larger instances go to the spool."""


@contextmanager
def asking(job: Job) -> Iterator[Source]:
    """A conversation with the job's source."""
    source = DimseSource(job.source)
    try:
        yield source
    finally:
        source.close()


@contextmanager
def receiving(job: Job, handler: InstanceHandler) -> Iterator[tuple[Source, str]]:
    """A conversation with the source and the AE title to which it sends what `handler` then gets. The caller holds the
    job: a mover that shares the port would get it otherwise.

    Raises
    ------
    OSError
        The receiver's address cannot be had.
    """
    spool = Spool(job.state_dir / "sample")
    options = job.receivers[0]
    tls = None if options.tls is None else receiver_context(options.tls)
    receiver = Receiver(options, LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY).open, handler, tls=tls)
    try:
        receiver.start()
        with asking(job) as source:
            yield source, options.ae_title
    finally:
        receiver.stop()
        spool.close()
