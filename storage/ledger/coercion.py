"""What rules did, as rows: beside each staged instance until the study is committed, then per study and rule.

Of every study is kept under which rules it was written, whose conditions it met and which of them changed something;
of some also the values, where its datasets do not keep them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from imaging.coercion.rules import UNRULED
from imaging.facts import UNSURE, CoercedValue, InstanceFacts
from imaging.uid import Uid
from storage.ledger.pool import Connection, Pool
from storage.ledger.records import Claim, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesInUse:
    """Rules under which instances are written."""

    version: str
    """As `RuleSet.version`."""
    rules: Json
    """As the job file has them: enough to use them again years later."""


AS_IT_CAME = RulesInUse(version=UNRULED, rules={})
"""Without rules."""


@dataclass(frozen=True, slots=True)
class Done:
    """What rules did to the instances of one study taken together, and what those are; as `InstanceFacts` has it."""

    met: tuple[str, ...]
    acted: tuple[str, ...]
    modalities: tuple[str, ...] | None
    """None where that of an instance is not sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousValue:
    """One value that one rule changed in some instances of a study; values as the datasets encode them."""

    tag: int
    before: bytes | None
    """None: absent."""
    after: bytes | None
    sop_uids: tuple[Uid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """The work of one rule on one revision of a study."""

    rule: str
    instances: int
    changes: tuple[PreviousValue, ...]


def json_of(values: Sequence[CoercedValue]) -> Jsonb | None:
    """The column of one staged instance; None where nothing was changed."""
    return Jsonb([[one.rule, one.tag, _hex(one.before), _hex(one.after)] for one in values]) if values else None


def values_of(column: Sequence[Sequence[Any]] | None) -> tuple[CoercedValue, ...]:
    """The reverse of `json_of`."""
    return tuple(
        CoercedValue(rule=rule, tag=tag, before=_bytes(before), after=_bytes(after))
        for rule, tag, before, after in column or ()
    )


def put_coercions(conn: Connection, claim: Claim, coerced: Mapping[Uid, Sequence[CoercedValue]]) -> None:
    """Previous values that no dataset keeps are kept here, within the caller's transaction."""
    rules: dict[str, dict[tuple[int, str | None, str | None], list[Uid]]] = {}
    for sop_uid in sorted(coerced):
        for one in coerced[sop_uid]:
            if one.before is not None or one.after is not None:
                alike = rules.setdefault(one.rule, {})
                alike.setdefault((one.tag, _hex(one.before), _hex(one.after)), []).append(sop_uid)
    for rule, groups in rules.items():
        changes = [
            {"tag": tag, "before": before, "after": after, "instances": uids}
            for (tag, before, after), uids in groups.items()
        ]
        conn.execute(
            "insert into coercion (study_key, revision, instances, rule, changes) values (%s, %s, %s, %s, %s)",
            (
                claim.study_key,
                claim.revision,
                len({uid for uids in groups.values() for uid in uids}),
                rule,
                Jsonb(changes),
            ),
        )


def staged(conn: Connection, claim: Claim) -> dict[Uid, tuple[CoercedValue, ...]]:
    """What was changed in the members that the journal holds."""
    rows = conn.execute(
        "select sop_uid, coerced from upload_member where delivery_id = %(delivery)s and coerced is not null"
        " union all"
        " select sop_uid, coerced from volume_member where delivery_id = %(delivery)s and coerced is not null",
        {"delivery": claim.delivery_id},
    )
    return {sop_uid: values_of(column) for sop_uid, column in rows}


def done_to(facts: Iterable[InstanceFacts]) -> Done:
    """What rules did to the instances."""
    return _together({(one.met, one.acted, one.modality) for one in facts})


def done_to_staged(conn: Connection, claim: Claim) -> Done:
    """What rules did to the members that the journal holds."""
    rows = conn.execute(
        "select met, acted, modality from upload_member where delivery_id = %(delivery)s"
        " union select met, acted, modality from volume_member where delivery_id = %(delivery)s",
        {"delivery": claim.delivery_id},
    )
    return _together(rows)


def put_effect(conn: Connection, rules: RulesInUse, done: Done) -> int:
    """Id of what these rules did, the same for all studies to which they did the same, within the caller's
    transaction."""
    values = {
        "version": rules.version,
        "rules": json.dumps(rules.rules),
        "met": list(done.met),
        "acted": list(done.acted),
        "modalities": None if done.modalities is None else list(done.modalities),
    }
    while (row := conn.execute(_EFFECT, values).fetchone()) is None:
        conn.execute(_KEEP_RULES, values)
        # Where another commit is just making the same row this one waits for it.
        conn.execute(_KEEP_EFFECT, values)
    return row[0]


def _together(each: Iterable[Sequence[Any]]) -> Done:
    found = list(each)
    met, acted = (tuple(sorted({label for one in found for label in one[place]})) for place in (0, 1))
    modalities = {one[2] for one in found}
    return Done(met, acted, None if UNSURE in modalities else tuple(sorted(modalities)))


class Coercions:
    """Reads what was changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def of_study(self, study_uid: Uid, revision: int) -> tuple[RuleRecord, ...]:
        """Per rule, the values it changed that no dataset keeps; nothing where the datasets do."""
        with self._pool.transaction("read coercion") as conn:
            rows = conn.cursor(row_factory=dict_row).execute(
                "select c.rule, c.instances, c.changes from coercion c join study s using (study_key)"
                " where s.study_uid = %s and c.revision = %s order by c.rule",
                (study_uid, revision),
            )
            return tuple(
                RuleRecord(rule=row["rule"], instances=row["instances"], changes=_previous(row["changes"]))
                for row in rows
            )


def _previous(changes: Iterable[Mapping[str, Any]]) -> tuple[PreviousValue, ...]:
    return tuple(
        PreviousValue(
            tag=one["tag"],
            before=_bytes(one["before"]),
            after=_bytes(one["after"]),
            sop_uids=tuple(Uid(uid) for uid in one["instances"]),
        )
        for one in changes
    )


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


_EFFECT = """
select effect_id from coercion_effect where version = %(version)s and met = %(met)s and acted = %(acted)s
  and modalities is not distinct from %(modalities)s::text[]"""

_KEEP_RULES = """
insert into coercion_rules as c (version, rules) values (%(version)s, %(rules)s::json)
on conflict (version) do update set rules = excluded.rules where c.rules is null"""

_KEEP_EFFECT = """
insert into coercion_effect (version, met, acted, modalities)
values (%(version)s, %(met)s, %(acted)s, %(modalities)s::text[]) on conflict do nothing"""
