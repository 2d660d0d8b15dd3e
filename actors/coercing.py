"""Coercion on the way into a pack."""

from datetime import datetime

from actors.intake import Shape
from imaging.coercion.apply import coerce
from imaging.coercion.rules import RuleSet
from imaging.facts import InstanceFacts
from imaging.likeness import Likenesses
from imaging.octets import Octets


def shape_of(rules: RuleSet, source: str, planned_at: datetime, likenesses: Likenesses) -> Shape | None:
    """What makes of an arriving instance the one to be written; None without rules: then nothing is looked at twice.

    The time in the dataset is the plan's, because every attempt at a delivery must write the same bytes: an object that
    a worker completed before it died is taken over only if it is the one the next worker would write.
    """
    if not rules.rules:
        return None

    def shape(facts: InstanceFacts, part10: Octets) -> tuple[InstanceFacts, Octets]:
        coerced = coerce(part10, facts, rules, source=source, moment=planned_at, likenesses=likenesses)
        return coerced.facts, coerced.part10

    return shape
