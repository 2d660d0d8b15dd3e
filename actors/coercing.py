"""Coercion on the way into a pack: what rules change, and what was decided about the study."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from blake3 import blake3
from pydantic import ValidationError

from actors.coercion_options import CoercionOptions
from actors.identity_options import IdentityOptions
from actors.intake import Shape, as_it_came
from imaging.coercion.apply import coerce
from imaging.coercion.decisions import Decisions, Further, nothing_further
from imaging.coercion.rules import UNRULED, Profile, RuleSet
from imaging.facts import InstanceFacts
from imaging.identity.arrival import Arriving
from imaging.identity.planned import PlannedIdentity, planned_identity
from imaging.instance import Instance
from imaging.likeness import Likenesses
from imaging.octets import Octets
from storage.ledger.coercion import RulesInUse
from storage.ledger.records import Json, JsonValue


def shape_of(
    rules: RuleSet,
    source: str,
    planned_at: datetime,
    likenesses: Likenesses,
    *,
    plan: Mapping[str, Any],
    identity: IdentityOptions | None,
) -> Shape:
    """What makes of an arriving instance the one to be written; `plan` is the revision's.

    The time in the dataset is the plan's, because every attempt at a delivery must write the same bytes: an object that
    a worker completed before it died is taken over only if it is the one the next worker would write.
    """
    further = _further(plan, identity)
    if not rules.rules and further is nothing_further and rules.profile is Profile.NONE:
        return as_it_came

    decisions = Decisions(rules, source=source, moment=planned_at, further=further)

    def shape(instance: Instance) -> tuple[InstanceFacts, Octets]:
        coerced = coerce(instance, decisions, likenesses=likenesses)
        return coerced.facts, coerced.part10

    return shape


def in_use(coercion: CoercionOptions) -> RulesInUse:
    """The job's rules as the ledger keeps them. What the outcome is held against changes nothing that is written."""
    return RulesInUse(version=coercion.rule_set().version, rules=coercion.model_dump(mode="json", exclude={"profile"}))


def kept_rules(version: str, rules: Json | None) -> RuleSet | None:
    """The rules that the ledger kept under this version; None: it has none, or this release reads them otherwise."""
    if version == UNRULED:
        return RuleSet()
    try:
        found = None if rules is None else CoercionOptions.model_validate(rules).rule_set()
    except ValidationError:
        return None
    return found if found is not None and found.version == version else None


def fingerprint_of(rules: RuleSet, plan: Mapping[str, Any]) -> str:
    """Of everything that decides what is written: an attempt under another one starts over."""
    decided = _decided(plan)
    if not decided:
        return rules.fingerprint
    kept = [rules.originals.value, rules.modifying_system, rules.previous_source]
    told = json.dumps([rules.fingerprint, kept, decided["digest"]])
    return blake3(told.encode("ascii")).hexdigest()[:32]


def identity_note(plan: Mapping[str, Any], facts: Sequence[InstanceFacts]) -> dict[str, JsonValue]:
    """Under which decision the instances were written: whose the study was and is, and its accession numbers."""
    decided = _decided(plan)
    if not decided:
        return {}
    rules = {decided.get("rule"), decided.get("accession_rule")} - {None, ""}
    changed = sum(any(value.rule in rules for value in one.coerced) for one in facts)
    told: dict[str, JsonValue] = {
        name: decided[name] for name in ("digest", "rules", "verdict", "rule", "accession_rule") if name in decided
    }
    told["changed"] = changed
    if decided.get("accepted"):
        told["accepted"] = decided["accepted"]
    if "patient" in decided:
        told["patient"] = {"before": decided.get("asked"), "after": decided["patient"]}
    if "accessions" in decided:
        told["accession"] = [{"before": row[0], "issuer": row[1], "after": row[2]} for row in decided["accessions"]]
    return {"identity": told}


def _further(plan: Mapping[str, Any], identity: IdentityOptions | None) -> Further:
    decided = _decided(plan)
    planned = planned_identity(decided)
    if identity is None or not _says_anything(planned):
        return nothing_further
    accepted = frozenset(str(kind) for kind in decided.get("accepted", ()))
    return Arriving(planned, identity.authorities(), identity.thresholds(), accepted).changes


def _says_anything(planned: PlannedIdentity) -> bool:
    target = planned.target
    return bool(target.patient or target.accessions or planned.among) or planned.numbered is not None


def _decided(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was decided about the study; empty where the job decides nothing."""
    decided = plan.get("decision")
    return decided if isinstance(decided, dict) else {}
