"""imports: what an imaging service is told to take in."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from actors.destinations import open_destination
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.imports import ImportJob, import_jobs
from cluster.job import Job, S3Destination, load_job
from cluster.services import services
from storage.ledger.facts import LooseStudy
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.packs.batches import batch_folder
from storage.packs.model import Container, PackId
from storage.packs.reader import PackReader
from storage.sinks.protocol import Sink


def add_to(app: typer.Typer) -> None:
    app.command(
        "imports",
        **texts(
            "List the prefixes that an imaging service's import jobs take.",
            "limosa imports move.toml",
            "limosa imports move.toml --destination healthimaging --json",
            more='For a destination with layout = "imaging-service". Each prefix holds at most 5,000 files and 10 GB, '
            "proven studies only, each in its current revision; together they hold all of them. Take the list when "
            "nothing is being written there: a study that is begun later may come into a folder of the list.",
        ),
    )(imports)


def imports(
    job_file: JobFile,
    destination: Annotated[str | None, typer.Option(help="Its name; needed where the job has several.")] = None,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    chosen = chosen_destination(job, destination)
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url, pool_size=1) as ledger:
            options = next(item for item in running.destinations if item.name == chosen.name)
            jobs = [asdict(each) for each in jobs_at(ledger, open_destination(options), chosen.name)]
    for each in jobs:
        each["prefix"] = f"s3://{chosen.bucket}/{each['prefix']}"
    printer(as_json).rows("imports", ("prefix", "files", "bytes"), jobs)
    return Exit.DONE


def jobs_at(ledger: Ledger, sink: Sink, destination: str) -> Iterator[ImportJob]:
    """Import jobs for what is proven at a destination; their prefixes are keys of its bucket."""
    return import_jobs(ledger.facts.loose(destination), lambda study: _batches(sink, study))


def _batches(sink: Sink, study: LooseStudy) -> Iterator[ImportJob]:
    pack = PackId(study_uid=study.study_uid, revision=study.revision)
    files, sizes = Counter[int](), Counter[int]()
    for member in PackReader(sink, pack, Container.P10, study.key).index().members:
        files[member.offset] += 1
        sizes[member.offset] += member.length
    for number in sorted(files):
        yield ImportJob(prefix=batch_folder(study.key, number), files=files[number], bytes=sizes[number])


def chosen_destination(job: Job, name: str | None) -> S3Destination:
    """The destination of that name, or the only one, that keeps batches. Raises `Stop`."""
    fitting = {
        each.name: each
        for each in job.destinations
        if isinstance(each, S3Destination) and each.layout == "imaging-service"
    }
    if not fitting:
        raise Stop('the job has no destination with layout = "imaging-service"; no other layout keeps batches')
    if name is None and len(fitting) == 1:
        return next(iter(fitting.values()))
    if name not in fitting:
        raise Stop(f"give --destination one of {', '.join(fitting)}")
    return fitting[name]
