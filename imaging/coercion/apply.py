"""One instance as the rules want it: its new file, and what is then true of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.originals import originals_edit
from imaging.coercion.plan import Change, plan
from imaging.coercion.rules import Originals, RuleSet
from imaging.errors import Refused, Unspliceable
from imaging.facts import CoercedValue, InstanceFacts
from imaging.flags import Flag
from imaging.instance import Original, describe
from imaging.likeness import Likenesses
from imaging.octets import Octets
from imaging.splice import Edit, splice


@dataclass(frozen=True, slots=True)
class Coerced:
    """A file that lives no longer than the one it was made from, with its facts."""

    facts: InstanceFacts
    part10: Octets


def coerce(
    part10: Octets,
    facts: InstanceFacts,
    rules: RuleSet,
    *,
    source: str,
    moment: datetime,
    likenesses: Likenesses | None = None,
) -> Coerced:
    """The instance as the rules want it; the same file where they change nothing.

    `facts` are of `part10` as received, and RAW1 and the received size stay; all else is of the file that is to be
    written. `moment` goes into it, so it must be the same whenever the same delivery is tried again.

    Raises
    ------
    NotCoercible
        The rules cannot be carried out, or would touch identity or pixels.
    """
    start = part10.size - facts.raw_size
    likenesses = likenesses or Likenesses()
    reading = likenesses.read(part10, start, facts.transfer_syntax)
    header = reading.header
    dataset = Dataset(header)
    changes = plan(dataset, rules, source)
    if not changes:
        return Coerced(facts, part10)
    edits = _edits(changes)
    if rules.originals is Originals.DATASET:
        edits.append(originals_edit(dataset, changes, rules, moment))
    try:
        spliced = splice(part10, start, header, edits)
        written = describe(
            spliced,
            start,
            facts.transfer_syntax,
            facts.raw1,
            likenesses=likenesses,
            original=Original(header, facts.pd1) if facts.pd1 is not None else None,
        )
    except Unspliceable as error:
        raise NotCoercible(error.reason, tag=error.tag) from None
    except Refused as error:
        raise NotCoercible(f"the outcome is no dataset ({type(error).__name__})") from None
    if written.pd1 != facts.pd1 or _identity(written) != _identity(facts):
        # Rules cannot name such attributes; if ours is the fault, nothing of it may be delivered.
        raise NotCoercible("the outcome has other pixels or another identity")
    return Coerced(
        replace(
            written,
            raw_size=facts.raw_size,
            flags=tuple(sorted({*facts.flags, *written.flags, Flag.COERCED.value})),
            coerced=tuple(_recorded(change, rules.originals) for change in changes),
        ),
        spliced,
    )


def _edits(changes: Sequence[Change]) -> list[Edit]:
    """What the file is to be changed in: of several changes to one attribute, the last."""
    last = {change.tag: change for change in changes}
    return [Edit(tag=change.tag, vr=change.vr, value=change.after) for change in last.values()]


def _identity(facts: InstanceFacts) -> tuple[str, ...]:
    return facts.study_uid, facts.series_uid, facts.sop_uid, facts.sop_class, facts.transfer_syntax


def _recorded(change: Change, originals: Originals) -> CoercedValue:
    """What the ledger is told: the values only where the dataset does not keep them itself."""
    if originals is Originals.DATASET:
        return CoercedValue(rule=change.rule, tag=change.tag)
    return CoercedValue(rule=change.rule, tag=change.tag, before=change.before, after=change.after)
