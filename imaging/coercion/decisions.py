"""What the rules do to the datasets of one delivery, decided once for all that are alike.

A decision depends on the few elements the rules look at, and in a study those hardly differ. So the elements that were
looked at are kept with the decision, and where the next dataset has the same bytes there, the same rules would take
the same way through it: nothing is guessed, and nobody has to list what a rule reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.originals import originals_edit
from imaging.coercion.plan import Change, converting, plan
from imaging.coercion.rules import Originals, RuleSet
from imaging.coercion.utf8 import CHARSET, UTF8, to_utf8
from imaging.elements import Element, Encoding
from imaging.facts import CoercedValue
from imaging.header import Header
from imaging.splice import Edit

KEPT = 8
"""Decisions kept: a study has few patients' names and few modalities."""

LONGEST = 4 << 10
"""Bytes of an element that is kept for comparing; with a longer one each dataset is decided by itself."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be changed, rule by rule, the edits that do it, and what the ledger is told; empty: nothing."""

    changes: tuple[Change, ...]
    edits: tuple[Edit, ...]
    recorded: tuple[CoercedValue, ...]
    met: tuple[str, ...]
    """As in `InstanceFacts`; so is the next."""
    acted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was looked at; None is an absent element."""

    encoding: Encoding
    elements: tuple[tuple[int, bytes | None], ...]

    def again_in(self, header: Header) -> bool:
        return header.scan.encoding is self.encoding and all(
            _octets(header, header.index.get(tag)) == octets for tag, octets in self.elements
        )


Further = Callable[[Dataset], tuple[Change, ...]]
"""What is changed besides what rules change, decided after them; raises `NotCoercible`."""


def nothing_further(dataset: Dataset) -> tuple[Change, ...]:
    """Rules alone decide."""
    del dataset
    return ()


class Decisions:
    """Thread-safe: of what two threads decide at once, one may be forgotten."""

    def __init__(self, rules: RuleSet, *, source: str, moment: datetime, further: Further = nothing_further) -> None:
        """`moment` is aware and goes into every file: it must be the same whenever the same delivery is tried again."""
        self.rules = rules
        self._source = source
        self._moment = moment
        self._further = further
        self._known: tuple[tuple[_Seen, Decision], ...] = ()

    def on(self, header: Header) -> Decision:
        """Raises `NotCoercible`, as `plan` and `originals_edit` do."""
        for seen, decision in self._known:
            if seen.again_in(header):
                return decision
        conversion = self.rules.conversion
        dataset = Dataset(header, conversion[1].undeclared if conversion and conversion[0].unconditional else "")
        planned = plan(dataset, self.rules, self._source)
        further = self._further(dataset)
        changes = (*planned.changes, *further)
        # A change may be due to several, of several numbers.
        acted = (*planned.acted, *dict.fromkeys(label for change in further for label in change.rule.split()))
        edits = _edits(changes)
        if changes and self.rules.originals is Originals.DATASET:
            edits.append(originals_edit(dataset, changes, self.rules, self._moment))
        recorded = tuple(_recorded(change, self.rules.originals) for change in changes)
        decision = Decision(changes, tuple(edits), recorded, planned.met, acted)
        if conversion is not None:
            return self._converted(header, dataset, decision)
        seen = None if dataset.private_asked else _seen(header, dataset.asked)
        if seen is not None:
            self._known = ((seen, decision), *self._known)[:KEPT]
        return decision

    def _converted(self, header: Header, dataset: Dataset, decision: Decision) -> Decision:
        """The decision with all text in UTF-8. Never kept: it depends on every text of the dataset."""
        rule = converting(dataset, self.rules, self._source)
        try:
            found = None if rule is None else to_utf8(header, decision.edits, dataset.charset)
        except NotCoercible as error:
            raise NotCoercible(error.defect, tag=error.tag, rule=rule.label if rule else "") from None
        if found is None or rule is None:
            return decision
        acted = (*decision.acted, rule.label)
        change = Change(rule=rule.label, reason=rule.reason, tag=CHARSET, vr="CS", before=found.before, after=UTF8)
        # Nothing of the text is another, so there is no original to keep; what was declared is told all the same.
        told = CoercedValue(rule=change.rule, tag=CHARSET, before=found.before, after=UTF8)
        return Decision((*decision.changes, change), found.edits, (*decision.recorded, told), decision.met, acted)


def _edits(changes: Sequence[Change]) -> list[Edit]:
    """What the file is to be changed in: of several changes to one attribute, the last."""
    last = {change.tag: change for change in changes}
    return [Edit(tag=change.tag, vr=change.vr, value=change.after) for change in last.values()]


def _recorded(change: Change, originals: Originals) -> CoercedValue:
    """The values only where the dataset does not keep them itself."""
    if originals is Originals.DATASET:
        return CoercedValue(rule=change.rule, tag=change.tag)
    return CoercedValue(rule=change.rule, tag=change.tag, before=change.before, after=change.after)


def _seen(header: Header, asked: set[int]) -> _Seen | None:
    """What was looked at, as something to compare with; None where that is too much, or not all of it."""
    elements = [(tag, header.index.get(tag)) for tag in sorted(asked)]
    for _, element in elements:
        if element is None:
            continue
        # How the items of an unknown sequence are written is judged by what follows, too.
        if element.end - element.start > LONGEST or element.vr == "UN":
            return None
    return _Seen(header.scan.encoding, tuple((tag, _octets(header, element)) for tag, element in elements))


def _octets(header: Header, element: Element | None) -> bytes | None:
    return None if element is None else header.scan.walker.read(element.start, element.end - element.start)
