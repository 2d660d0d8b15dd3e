"""custody: each study's chain of custody, read and recomputed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, StudyUid, given_uid, printer, texts
from cluster.cli.doing import doing
from cluster.cli.exits import Exit, Stop
from cluster.cli.worklist import StudyUids
from cluster.job import load_job
from cluster.services import open_ledger
from imaging.uid import Uid
from storage.ledger.custody import Chain
from storage.ledger.ledger import Ledger

SHOWN = 1_000
"""Broken chains that are listed; a ledger that somebody wrote over has millions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenChain:
    """Where one study's chain does not hold."""

    study_uid: Uid
    seq: int
    """Number of the first link that does not."""
    what: str
    event: str | None
    """As that link says; None where there is none."""


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Who did what to a study, and whether the record holds.")
    group.command(
        "show",
        **texts(
            "Show one study's chain of custody with its hashes.",
            "limosa custody show move.toml 1.2.840.1",
            "limosa custody show move.toml 1.2.840.1 --json",
        ),
    )(show)
    group.command(
        "verify",
        **texts(
            "Recompute chains of custody and name the first link that breaks.",
            "limosa custody verify move.toml",
            "limosa custody verify move.toml 1.2.840.1 --json",
            more="Every study's, or those named. Every hash is computed anew from the link's content and the link "
            "before it. Ends with 3 when one does not hold. Reads the ledger only; it may run beside anything.",
        ),
    )(verify)
    app.add_typer(group, name="custody")


def show(job_file: JobFile, study_uid: StudyUid, as_json: AsJson = False) -> None:
    uid = given_uid("STUDY_UID", study_uid)
    with open_ledger(load_job(job_file)) as ledger:
        if ledger.status.study(uid) is None:
            raise Stop(f"the ledger has no study {uid}; it may have come after the last inventory")
        chain = ledger.custody.chain(uid)
    printer(as_json).rows("custody", ("seq", "at", "event", "actor", "payload", "hash"), [asdict(e) for e in chain])


def verify(job_file: JobFile, study_uids: StudyUids = None, quiet: Quiet = False, as_json: AsJson = False) -> int:
    named = [given_uid("STUDY_UID", text) for text in study_uids or ()]
    studies = links = broken = 0
    listed: list[BrokenChain] = []
    with open_ledger(load_job(job_file)) as ledger, doing(quiet) as tell:
        for chain in _named(ledger, named) if named else _all(ledger):
            studies += 1
            links += len(chain.entries)
            tell("custody", f"{studies} studies, {links} links", studies=studies, links=links)
            if (found := chain.broken()) is not None:
                broken += 1
                if len(listed) < SHOWN:
                    listed.append(_broken(chain, *found))
    out = printer(as_json)
    rows = [asdict(each) for each in listed]
    if as_json:
        out.record({"studies": studies, "links": links, "broken": broken, "chains": rows})
    else:
        out.say(f"{studies} studies, {links} links: " + (f"{broken} chains BROKEN" if broken else "every chain holds"))
        if rows:
            out.rows("broken chains", ("study_uid", "seq", "event", "what"), rows)
    return Exit.INTEGRITY if broken else Exit.DONE


def _all(ledger: Ledger) -> Iterator[Chain]:
    after: Uid | None = None
    while page := ledger.custody.chains(after=after):
        yield from page
        after = page[-1].study_uid


def _named(ledger: Ledger, named: list[Uid]) -> Iterator[Chain]:
    for uid in named:
        if not (found := ledger.custody.chains(only=uid)):
            raise Stop(f"the ledger has no study {uid}; it may have come after the last inventory")
        yield from found


def _broken(chain: Chain, seq: int, what: str) -> BrokenChain:
    event = chain.entries[seq - 1].event if seq <= len(chain.entries) else None
    return BrokenChain(study_uid=chain.study_uid, seq=seq, what=what, event=event)
