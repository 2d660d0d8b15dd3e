"""Coercion on the way into a pack."""

from datetime import datetime

from actors.intake import Shape, as_it_came
from imaging.coercion.apply import coerce
from imaging.coercion.decisions import Decisions
from imaging.coercion.rules import RuleSet
from imaging.facts import InstanceFacts
from imaging.instance import Instance
from imaging.likeness import Likenesses
from imaging.octets import Octets


def shape_of(rules: RuleSet, source: str, planned_at: datetime, likenesses: Likenesses) -> Shape:
    """What makes of an arriving instance the one to be written.

    The time in the dataset is the plan's, because every attempt at a delivery must write the same bytes: an object that
    a worker completed before it died is taken over only if it is the one the next worker would write.
    """
    if not rules.rules:
        return as_it_came

    decisions = Decisions(rules, source=source, moment=planned_at)

    def shape(instance: Instance) -> tuple[InstanceFacts, Octets]:
        coerced = coerce(instance, decisions, likenesses=likenesses)
        return coerced.facts, coerced.part10

    return shape
