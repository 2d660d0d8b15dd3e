"""Messages for destinations that keep what they have: made once, sent until they are answered.

A study waits while the delivery of its latest revision is void because the destination is told instead, and no message
tells it. What the destination believes is the decision of the last revision it got or was told of.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import LiteralString

from psycopg.rows import class_row

from imaging.hl7.acknowledge import Answer
from imaging.hl7.outbound import CONTROL_ID_LIMIT
from imaging.identity.telling import Held, Tell, telling
from storage.ledger.exceptions import put_problem
from storage.ledger.plan import TO_TELL, TOLD
from storage.ledger.pool import Connection, Pool, beside_a_run
from storage.ledger.records import Problem

WRITTEN = "file"
"""The answer of a message that was written to a file: what became of it there, nobody tells us."""

_LOCK = 0x9_1A5
"""Key of the advisory lock under which messages are made."""

Compose = Callable[[Tell, str], bytes]
"""The message with this control id."""


@dataclass(slots=True, kw_only=True)
class Made:
    """What one look at a destination found."""

    messages: dict[str, int] = field(default_factory=dict[str, int])
    """New ones, by trigger."""
    studies: int = 0
    """That they tell of."""
    untellable: int = 0
    """Studies of which no message can tell; each has an exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """One that is not done. Patient data."""

    message_id: int
    trigger: str
    control_id: str
    attempts: int
    answer: str | None
    """The last one, which was no acceptance; None before any."""
    octets: bytes


class Outbound:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @beside_a_run
    def make(self, destination_id: int, compose: Compose, untellable: Problem) -> Made:
        """Every correction that waits at the destination is in a message, or has the exception `untellable`."""
        made = Made()
        values = {"destination": destination_id}
        with self._pool.transaction("make messages") as conn:
            conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            rows = conn.cursor(row_factory=class_row(Held)).execute(_HELD, values)
            found = telling(rows)
            for tell in found.tells:
                self._put(conn, destination_id, tell, compose, made)
            for study in found.untellable:
                put_problem(
                    conn, untellable, study_key=study.study_key, delivery_id=None, destination_id=destination_id
                )
            made.untellable = len(found.untellable)
        return made

    def _put(self, conn: Connection, destination_id: int, tell: Tell, compose: Compose, made: Made) -> None:
        control_id = secrets.token_hex(CONTROL_ID_LIMIT // 2)
        trigger = "A08" if tell.old is None else "A40"
        row = conn.execute(
            "insert into outbound_message (destination_id, trigger, control_id, octets) values (%s, %s, %s, %s)"
            " returning message_id",
            (destination_id, trigger, control_id, compose(tell, control_id)),
        ).fetchone()
        assert row is not None  # an insert without a condition returns its row
        for study in tell.studies:
            conn.execute(
                "insert into outbound_study (study_key, message_id, destination_id, revision) values (%s, %s, %s, %s)",
                (study.study_key, row[0], destination_id, study.revision),
            )
            conn.execute(
                "update delivery set reason = %s where study_key = %s and destination_id = %s and revision <= %s"
                " and state = 'void' and reason = %s",
                (TOLD, study.study_key, destination_id, study.revision, TO_TELL),
            )
        made.messages[trigger] = made.messages.get(trigger, 0) + 1
        made.studies += len(tell.studies)

    def to_send(self, destination_id: int) -> tuple[OutboundMessage, ...]:
        """Messages that are not accepted yet, in the order in which they have to arrive."""
        with self._pool.transaction("read messages") as conn:
            rows = conn.cursor(row_factory=class_row(OutboundMessage)).execute(
                "select message_id, trigger, control_id, attempts, answer, octets from outbound_message"
                " where destination_id = %s and done_at is null order by message_id",
                (destination_id,),
            )
            return tuple(rows)

    def tried(self, message_id: int, answer: Answer | None) -> None:
        """The message was sent; None: nothing was answered. One that is accepted is done."""
        with self._pool.transaction("record answer") as conn:
            conn.execute(
                "update outbound_message set attempts = attempts + 1, last_tried = limosa_now(),"
                " answer = coalesce(%(answer)s, answer), done_at = case when %(answer)s = 'AA' then limosa_now() end"
                " where message_id = %(message)s and done_at is null",
                {"message": message_id, "answer": None if answer is None else answer.value},
            )

    def written(self, message_ids: list[int]) -> None:
        """The messages are in a file, which is durable; they are done."""
        with self._pool.transaction("record file") as conn:
            conn.execute(
                "update outbound_message set attempts = attempts + 1, last_tried = limosa_now(), answer = %s,"
                " done_at = limosa_now() where message_id = any(%s) and done_at is null",
                (WRITTEN, message_ids),
            )


# TO_TELL as a literal: a prepared statement does not find a partial index by a parameter.
_WAITING: LiteralString = """
  select w.study_key, w.revision from delivery w join study s using (study_key)
  where w.destination_id = %(destination)s and w.state = 'void' and w.reason = 'to be told by message'
    and w.revision = s.revision"""

_BELIEVED: LiteralString = """
  select max(known.revision) as revision from (
    select d.revision from delivery d
    where d.study_key = c.study_key and d.destination_id = %(destination)s and d.state in ('written', 'validated')
    union all
    select o.revision from outbound_study o
    where o.study_key = c.study_key and o.destination_id = %(destination)s) known"""

# Beside what waits, only studies that the destination has under the same numbers decide what it may be told.
_HELD: LiteralString = """
with waiting as materialized (<WAITING>),
numbers as materialized (
  select distinct was.plan -> 'decision' -> 'patient' as patient
  from waiting c cross join lateral (<BELIEVED>) b
  join study_revision was on was.study_key = c.study_key and was.revision = b.revision
  where was.plan -> 'decision' ? 'patient'),
candidate as (
  select study_key from waiting
  union
  select r.study_key from numbers n join study_revision r
    on r.plan -> 'decision' -> 'patient' = n.patient and r.plan -> 'decision' ? 'patient')
select s.study_key, s.revision, b.revision < s.revision and w.study_key is not null as waits,
  coalesce(was.plan -> 'decision', '{}') as believed, coalesce(now.plan -> 'decision', '{}') as planned,
  k.seq is not null as ruled
from candidate c cross join lateral (<BELIEVED>) b join study s using (study_key) left join waiting w using (study_key)
join study_revision was on was.study_key = c.study_key and was.revision = b.revision
join study_revision now on now.study_key = s.study_key and now.revision = s.revision
left join lateral (
  select seq from custody where study_key = s.study_key and event = 'replayed'
    and (payload ->> 'revision')::integer >= b.revision limit 1) k on w.study_key is not null
order by s.study_key""".replace("<WAITING>", _WAITING).replace("<BELIEVED>", _BELIEVED)
