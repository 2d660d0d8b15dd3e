"""Tells the ledger whose it is: the job, its source and its destinations."""

from urllib.parse import urlsplit

from actors.options import AUTO
from actors.tuning import Bounds
from cluster.job import SERVICES, Destination, DicomwebDestination, DimseDestination, Job, S3Destination
from storage.ledger.job import DestinationSpec, Registered, SourceSpec
from storage.ledger.ledger import Ledger
from storage.sinks.existing import Existing


def register_job(job: Job, ledger: Ledger) -> Registered:
    """The ledger knows the job's endpoints. Idempotent.

    Raises
    ------
    JobMismatch
        The ledger belongs to another job or archive, or a destination would move.
    """
    inline = job.inline_destination.name
    bounds = pull_bounds(job)
    return ledger.jobs.register(
        job.job.name,
        source_identity=job.source_identity,
        sources=[SourceSpec(name=job.source.name, kind=job.source.kind, pull_limit=bounds.most, start=bounds.least)],
        destinations=[
            DestinationSpec(
                name=item.name,
                kind=item.kind,
                inline=item.name == inline,
                fingerprint=_place(item),
                told=isinstance(item, SERVICES) and item.existing is Existing.TOLD,
            )
            for item in job.destinations
        ],
    )


def pull_bounds(job: Job) -> Bounds:
    """What the source may be asked with: the job's range, and never more than the receivers' lanes."""
    bounds = job.source.bounds
    if not job.receivers:
        return bounds
    lanes = [
        None if receiver.associations == AUTO else receiver.largest * receiver.associations
        for receiver in job.receivers
    ]
    known = [count for count in lanes if count is not None]
    most = bounds.most if len(known) < len(lanes) else min(bounds.most, sum(known))
    return Bounds(least=min(bounds.least, most), most=most)


def _place(item: Destination) -> str:
    """What names the place where bytes are: not how it is reached or paid for. Devices come and go."""
    if isinstance(item, DimseDestination):
        return f"dimse:{item.ae_title}@{item.host}:{item.port}"
    if isinstance(item, DicomwebDestination):
        service = urlsplit(item.url)
        return f"dicomweb:{service.netloc}{service.path}"
    if not isinstance(item, S3Destination):
        return f"seed:{item.layout}"
    host = urlsplit(item.endpoint_url).netloc or item.endpoint_url if item.endpoint_url else "aws"
    return f"s3:{host}/{item.bucket}/{item.prefix}:{item.layout}"
