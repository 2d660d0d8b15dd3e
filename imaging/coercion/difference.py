"""Whether a study would be written otherwise under other rules, as far as what they did to it then can tell.

Rules are applied in a row, so a rule that changed nothing may be left out of the row, and two rows whose remaining
rules are the same write the same. What is not known (the values of a study that is not at hand) counts as a difference:
a study may be renewed for nothing, but is never left as it is where it would become another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from imaging.coercion.rules import Originals, Rule, RuleSet
from imaging.header import MODALITY


class Cause(StrEnum):
    """Why a study may be written otherwise."""

    CHANGED = "changed"
    """The rule changed something in it, and is another or gone by now."""
    MET = "met"
    """Its conditions held, it changed nothing, and it is another by now."""
    NEW = "new"
    """Of a rule as it is now, nothing is known about this study."""
    KEEPING = "keeping"
    """Its previous values would be kept elsewhere, or under other names."""
    UNKNOWN = "unknown"
    """The rules of then, or what they did, were not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a rule set did to the instances of one study, all taken together."""

    met: frozenset[str] | None
    """Labels of rules whose conditions held in an instance; None: not recorded."""
    acted: frozenset[str]
    """Labels of rules, and of decisions about the study, that changed a value."""
    modalities: frozenset[str] | None = None
    """Modality of the instances as they were received, empty where one has none; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first reason why a study may be written otherwise."""

    cause: Cause
    rule: str = ""
    """Name of the rule; empty where it is none's."""


def difference(then: RuleSet | None, today: RuleSet, work: Work, source: str) -> Difference | None:
    """Why a study of `source` may be written otherwise today than under `then`; None: it cannot be.

    `then` is None where the rules are not known any more. Names and versions of rules are no difference.
    """
    if then is None or work.met is None:
        return Difference(cause=Cause.UNKNOWN)
    if _undeclared(then) != _undeclared(today):
        # Every rule reads text with it.
        conversion = today.conversion or then.conversion
        assert conversion is not None  # one of the two has one, or they would not differ
        return Difference(cause=Cause.NEW, rule=conversion[0].name)
    if work.acted and _keeping(then) != _keeping(today):
        return Difference(cause=Cause.KEEPING)
    acted = [rule for rule in then.rules if rule.label in work.acted]
    done = 0
    modalities = None if _sets_modality(today) else work.modalities
    for rule in today.rules:
        if (rule.sources and source not in rule.sources) or _of_others(rule, modalities):
            continue
        if done < len(acted) and _does(rule) == _does(acted[done]):
            done += 1
        elif not _idle(rule, _between(then.rules, work, done), work.met):
            lost = done < len(acted) and _does(acted[done]) not in map(_does, today.rules)
            return _changed(acted[done]) if lost else Difference(cause=_cause(rule, then, work), rule=rule.name)
    return _changed(acted[done]) if done < len(acted) else None


def _of_others(rule: Rule, modalities: frozenset[str] | None) -> bool:
    """The rule is for none of these modalities."""
    if not rule.modalities or modalities is None:
        return False
    return {one.casefold() for one in modalities}.isdisjoint(one.casefold() for one in rule.modalities)


def _sets_modality(rules: RuleSet) -> bool:
    return any(action.tag == MODALITY for rule in rules.rules for action in rule.actions)


def _changed(rule: Rule) -> Difference:
    return Difference(cause=Cause.CHANGED, rule=rule.name)


def _between(rules: Sequence[Rule], work: Work, done: int) -> list[Rule]:
    """The rules that changed nothing, behind the first `done` that did: they saw what those had left."""
    found: list[Rule] = []
    for rule in rules:
        if rule.label in work.acted:
            done -= 1
        elif done == 0:
            found.append(rule)
    return found


def _idle(rule: Rule, known: Sequence[Rule], met: frozenset[str]) -> bool:
    """The rule changes nothing either, because it is one of these, or has the conditions of one that were not met."""
    return any(
        _does(rule) == _does(one) or (one.label not in met and _conditions(rule) == _conditions(one)) for one in known
    )


def _cause(rule: Rule, then: RuleSet, work: Work) -> Cause:
    before = next((one.label for one in then.rules if one.name == rule.name), "")
    if before in work.acted:
        return Cause.CHANGED
    return Cause.MET if work.met is not None and before in work.met else Cause.NEW


def _conditions(rule: Rule) -> tuple[object, ...]:
    return rule.sources, rule.modalities, rule.manufacturers, rule.when


def _does(rule: Rule) -> tuple[object, ...]:
    return (*_conditions(rule), rule.actions, rule.reason)


def _keeping(rules: RuleSet) -> tuple[str, ...]:
    """How previous values are kept: the names only go into datasets."""
    if rules.originals is Originals.LEDGER:
        return (rules.originals,)
    return rules.originals, rules.modifying_system, rules.previous_source


def _undeclared(rules: RuleSet) -> str:
    """The character set that all rules take undeclared text to be in."""
    found = rules.conversion
    return found[1].undeclared if found and found[0].unconditional else ""
