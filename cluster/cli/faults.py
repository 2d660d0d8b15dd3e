"""What a command may raise and not catch: each with the sentence a person reads, and the exit code."""

from actors.source import SourceUnending, SourceUnreachable
from cluster.advice import advice
from cluster.cli.given import given_job
from cluster.exit import Exit
from cluster.job_errors import JobFileError
from cluster.planning.decide import PlanRefused
from cluster.planning.replaying import UnknownRules
from infra.embedded.process import ServerError
from storage.errors import IntegrityError, StorageError
from storage.ledger.job import JobHeld


def expected(error: Exception) -> tuple[str, Exit] | None:
    """Sentence and exit code; None for what nobody expects."""
    match error:
        case JobHeld():
            return f"{error}. Wait for it, or end it; then run again.", Exit.HELD
        case IntegrityError():
            return f"{error}. Stop and look before anything else is written.", Exit.INTEGRITY
        case SourceUnreachable(refused=True):
            return (
                f"the archive refuses us: {error}. Check in [source] what it and we are called (ae_title, "
                "calling_ae_title) or what lets us in (token, user, password), and that the archive knows us; "
                f"`limosa check {given_job()}` says more.",
                Exit.FAULT,
            )
        case SourceUnreachable():
            return (
                f"the archive cannot be asked: {error}. Check in [source] where it is (host and port, url, or roots), "
                f"and the way there; `limosa check {given_job()}` says more.",
                Exit.FAULT,
            )
        case SourceUnending():
            return f"{error}. Ask for less, or look at the archive.", Exit.FAULT
        case StorageError():
            step = advice(error)
            return f"{error}. {step} {given_job()}" if step else str(error), Exit.FAULT
        case JobFileError() | ServerError() | PlanRefused() | UnknownRules():
            return str(error), Exit.FAULT
        case _:
            return None
