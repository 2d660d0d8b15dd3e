"""Decisions about named studies: carried out page by page, and told study by study."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from cluster.cli.exits import Exit
from cluster.output import Form, Output
from cluster.summary import batched
from imaging.uid import Uid
from storage.ledger.ledger import Ledger

PAGE = 500
"""Studies decided in one transaction: some hundred milliseconds in which their rows are locked."""

Change = Callable[[Sequence[Uid]], Sequence[Uid]]
"""Changes what can be changed of these studies, and says of which."""


def decide(named: Sequence[Uid], change: Change, *, end: str, ledger: Ledger, out: Output) -> int:
    """The change is made, and what became of each study went to `out`; the command's exit code."""
    changed = frozenset(uid for page in batched(named, PAGE) for uid in change(page))
    rows = [{"study_uid": uid, "end": what} for uid, what in _ends(ledger, named, changed, end)]
    left = [row for row in rows if row["end"] != end]
    if out.form is Form.JSON:
        out.rows("studies", ("study_uid", "end"), rows)
    else:
        out.say(", ".join(f"{count} {what}" for what, count in Counter(row["end"] for row in rows).most_common()))
        if left:
            out.rows("left as they are", ("study_uid", "end"), left)
    return Exit.EXCEPTIONS if left else Exit.DONE


def _ends(ledger: Ledger, named: Iterable[Uid], changed: frozenset[Uid], end: str) -> Iterator[tuple[Uid, str]]:
    for uid in named:
        if uid in changed:
            yield uid, end
        else:
            row = ledger.status.study(uid)
            yield uid, "unknown" if row is None else f"left {row.status.value}"
