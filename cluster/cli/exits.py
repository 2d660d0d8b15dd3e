"""How commands end: five exit codes, and one sentence for every expected fault."""

import sys
from collections.abc import Callable

import typer
from typer.exceptions import TyperException

from actors.source import SourceUnreachable
from cluster.exit import Exit
from cluster.job_errors import JobFileError
from infra.embedded.process import ServerError
from storage.errors import IntegrityError, StorageError
from storage.ledger.job import JobHeld

EXIT_CODES = (
    "Exit codes: 0 done, 1 usage or fault, 2 finished with exceptions, "
    "3 integrity failure, 4 another run holds the job."
)

_INTERRUPTED = 130
"""What shells report for an interrupted command."""


class Stop(Exception):
    """A command ends here; the sentence says what happened and what to do next."""

    def __init__(self, sentence: str, code: Exit = Exit.FAULT) -> None:
        super().__init__(sentence)
        self.code = code


def ended(run: Callable[[], object]) -> int:
    """The exit code of a command; an expected fault has been told to standard error in one sentence.

    Anything else passes through: it is a defect, and its traceback (without local values) is wanted.
    """
    try:
        code = run()
    except TyperException as error:
        # Typer's own code for wrong usage is 2, which here means "finished with exceptions".
        return _tell(getattr(error, "format_message", error.__str__)(), Exit.FAULT)
    except Stop as stop:
        return _tell(str(stop), stop.code)
    except JobFileError as error:
        return _tell(str(error), Exit.FAULT)
    except JobHeld as error:
        return _tell(f"{error}. Wait for it, or end it; then run again.", Exit.HELD)
    except IntegrityError as error:
        return _tell(f"{error}. Stop and look before anything else is written.", Exit.INTEGRITY)
    except StorageError as error:
        return _tell(str(error), Exit.FAULT)
    except SourceUnreachable as error:
        return _tell(f"the archive cannot be asked: {error}. `limosa check` says more.", Exit.FAULT)
    except ServerError as error:
        return _tell(str(error), Exit.FAULT)
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    return code if isinstance(code, int) else Exit.DONE


def _tell(sentence: str, code: Exit) -> int:
    sys.stderr.write(f"limosa: {sentence}\n")
    return code
