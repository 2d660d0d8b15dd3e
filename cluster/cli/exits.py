"""How commands end: the exit codes, and one sentence for every expected fault."""

import sys
from collections.abc import Callable

import typer
from typer.exceptions import TyperException

from cluster.exit import Exit

EXIT_CODES = (
    "Exit codes: 0 done, 1 usage or fault, 2 finished with exceptions, "
    "3 integrity failure, 4 another run holds the job, 130 interrupted."
)

INTERRUPTED = 130
"""What shells report for an interrupted command."""


class Stop(Exception):
    """A command ends here; the sentence says what happened and what to do next."""

    def __init__(self, sentence: str, code: int = Exit.FAULT) -> None:
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
        return tell(usage(error), Exit.FAULT)
    except Stop as stop:
        return tell(str(stop), stop.code)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        # The outermost frame. What may be raised is imported now: before, every `--help` would wait for it.
        from cluster.cli.faults import expected

        if (told := expected(error)) is None:
            raise
        return tell(*told)
    return code if isinstance(code, int) else Exit.DONE


def usage(error: TyperException) -> str:
    """What is wrong with the command line; empty where Typer has printed a command's help instead."""
    # Typer lists choices one a line; everything else that we tell is one line.
    sentence = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if not sentence or context is None:
        return sentence
    return f"{sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'} See: {context.command_path} --help"


def tell(sentence: str, code: int) -> int:
    """The code; the sentence, if there is one, is on standard error."""
    if sentence:
        sys.stderr.write(f"limosa: {sentence}\n")
    return code
