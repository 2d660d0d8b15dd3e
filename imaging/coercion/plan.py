"""What the rules change in one dataset: decided here, done elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from imaging.coercion.attributes import unfit_value, vr_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.modalities import modality_of
from imaging.coercion.repair import repaired
from imaging.coercion.rules import (
    Action,
    Check,
    Condition,
    Copy,
    CopyPrivate,
    Fill,
    FromClass,
    Lookup,
    Map,
    Otherwise,
    Pad,
    Reason,
    Remove,
    Repair,
    Replace,
    Rule,
    RuleSet,
    Set,
    Side,
    Strip,
    Utf8,
    compiled,
)
from imaging.header import MODALITY

_MANUFACTURER = 0x00080070
_SOP_CLASS = 0x00080016


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that one rule changes. Values are as the dataset encodes them, without pads; None: absent."""

    rule: str
    """Name and version."""
    reason: Reason
    tag: int
    vr: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Planned:
    """Every change in the order of the rules, and which of these had to do with the dataset."""

    changes: tuple[Change, ...]
    met: tuple[str, ...]
    """Labels of rules whose conditions it met."""
    acted: tuple[str, ...]
    """Of those that changed a value, if only for a later one to change it back."""


def plan(dataset: Dataset, rules: RuleSet, source: str) -> Planned:
    """What the rules change; each rule sees what the ones before it did.

    A dataset that has been changed so is left alone the next time, or it is not changed at all. `dataset` is used up.

    Raises
    ------
    NotCoercible
        A value cannot be read, written, or is no value of its attribute, or the rules would change their own outcome.
    """
    met: list[str] = []
    found = tuple(_once(dataset, rules.rules, source, met))
    changes = _lasting(found)
    if changes:
        for again in _lasting(tuple(_once(dataset, rules.rules, source, []))):
            raise NotCoercible("would change its own outcome again", tag=again.tag, rule=again.rule)
    return Planned(changes, tuple(met), tuple(dict.fromkeys(change.rule for change in found)))


def converting(dataset: Dataset, rules: RuleSet, source: str) -> Rule | None:
    """The rule that converts all text, if it is for this dataset as the other rules left it."""
    found = rules.conversion
    return found[0] if found and _applies(found[0], dataset, source) else None


def _lasting(found: Sequence[Change]) -> tuple[Change, ...]:
    """Without those of attributes that end as they began."""
    first: dict[int, bytes | None] = {}
    last: dict[int, bytes | None] = {}
    for change in found:
        first.setdefault(change.tag, change.before)
        last[change.tag] = change.after
    return tuple(change for change in found if first[change.tag] != last[change.tag])


def _once(dataset: Dataset, rules: Sequence[Rule], source: str, met: list[str]) -> Iterator[Change]:
    """`met` gets the labels of the rules that are for the dataset."""
    for rule in rules:
        try:
            if not _applies(rule, dataset, source):
                continue
            met.append(rule.label)
            for action in rule.actions:
                change = _change(rule, action, dataset)
                if change is not None:
                    dataset.change(change.tag, change.after)
                    yield change
        except NotCoercible as error:
            if error.rule:
                raise
            raise NotCoercible(error.defect, tag=error.tag, rule=rule.label) from None


def _applies(rule: Rule, dataset: Dataset, source: str) -> bool:
    if rule.sources and source not in rule.sources:
        return False
    if rule.modalities and not _among(dataset.text(MODALITY), rule.modalities):
        return False
    if rule.manufacturers and not _among(dataset.text(_MANUFACTURER), rule.manufacturers):
        return False
    return all(_holds(condition, dataset) for condition in rule.when)


def _among(text: str, values: Sequence[str]) -> bool:
    return text.strip().casefold() in [value.casefold() for value in values]


def _holds(condition: Condition, dataset: Dataset) -> bool:
    match condition.check:
        case Check.ABSENT:
            return not dataset.has(condition.tag)
        case Check.PRESENT:
            return dataset.has(condition.tag)
        case Check.EQUALS:
            return dataset.text(condition.tag).strip() == condition.value
        case Check.MATCHES:
            return compiled(condition.value).search(dataset.text(condition.tag)) is not None


def _change(rule: Rule, action: Action, dataset: Dataset) -> Change | None:
    tag, vr = action.tag, vr_of(action.tag)
    if isinstance(action, Utf8):
        return None
    if isinstance(action, CopyPrivate):
        # The target may hold a number in binary, whose last bytes may be zero: it is looked at, never read.
        after = None if dataset.has(tag) else dataset.private(action)
        before = b"" if dataset.present(tag) else None
        if after is None:
            return None
        return Change(rule=rule.label, reason=rule.reason, tag=tag, vr=vr, before=before, after=after)
    if isinstance(action, Remove):
        if not dataset.present(tag):
            return None
        element = dataset.element(tag)
        items = element is not None and not dataset.plain(element)
        before = dataset.octets(element.value, element.end) if element and items else dataset.raw(tag)
        return Change(rule=rule.label, reason=rule.reason, tag=tag, vr=vr, before=before, after=None)
    text = _outcome(action, dataset)
    if text is None:
        return None
    before = dataset.raw(tag)
    after = dataset.encoded(tag, text).rstrip(b" ")
    if before == after:
        return None
    if defect := unfit_value(tag, text):
        raise NotCoercible(f"the new value has {defect}", tag=tag)
    return Change(rule=rule.label, reason=rule.reason, tag=tag, vr=vr, before=before, after=after)


Editing: TypeAlias = Set | Copy | Map | Replace | Pad | Strip | Repair | Fill | Lookup | FromClass


def _outcome(action: Editing, dataset: Dataset) -> str | None:
    """The attribute's new text; None where the action leaves it as it is."""
    if isinstance(action, Set):
        return action.value
    if isinstance(action, Copy):
        return dataset.text(action.source) or None
    if isinstance(action, Lookup):
        return dict(action.table).get(dataset.text(action.source).strip())
    if isinstance(action, Fill):
        return None if dataset.has(action.tag) or (not action.value and dataset.present(action.tag)) else action.value
    if isinstance(action, FromClass):
        return None if dataset.has(action.tag) else modality_of(dataset.text(_SOP_CLASS)) or None
    text = dataset.text(action.tag)
    if not text:
        return None
    match action:
        case Map():
            return dict(action.table).get(text.strip())
        case Repair():
            mended = repaired(action.tag, text)
            return "" if mended is None and action.otherwise is Otherwise.EMPTY else mended
        case Replace():
            return compiled(action.pattern).sub(action.by, text)
        case Pad(side=Side.LEFT):
            return text.strip().rjust(action.width, action.fill)
        case Pad():
            return text.strip().ljust(action.width, action.fill)
        case Strip(side=Side.LEFT):
            return text.lstrip(action.characters)
        case Strip(side=Side.RIGHT):
            return text.rstrip(action.characters)
        case Strip():
            return text.strip(action.characters)
