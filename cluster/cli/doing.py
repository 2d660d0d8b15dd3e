"""What a long command is at: a line that moves on a terminal, a JSON line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from cluster.output import Form, Output

LINE_SECONDS = 5.0
"""Between two lines where no person watches: 17,000 a day."""

Told = Callable[..., None]
"""`tell(event, sentence, **counts)`: the sentence is for a person, event and counts for a script."""


class Lines:
    """JSON lines on standard error, the first at once, so that standard output stays one document."""

    def __init__(self) -> None:
        self._out = Output(Form.JSON, sys.stderr)
        self._last = -LINE_SECONDS

    def tell(self, event: str, sentence: str, **counts: object) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            self._out.event({"event": event, **counts})


@contextmanager
def doing(quiet: bool) -> Iterator[Told]:
    """What to tell progress, for as long as the block lasts."""
    if quiet:
        yield lambda event, sentence, **counts: None
    elif sys.stderr.isatty():
        with Console(stderr=True).status("beginning") as status:
            # Brackets in a reason are no markup.
            yield lambda event, sentence, **counts: status.update(sentence.replace("[", r"\["))
    else:
        yield Lines().tell
