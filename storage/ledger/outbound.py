"""Messages for destinations that keep what they have: made once, sent until they are answered.

A study waits while the delivery of its latest revision is void because the destination is told instead, and no message
tells it. What the destination believes is the decision of the last revision it got or was told of.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from psycopg.rows import class_row

from imaging.hl7.acknowledge import Answer
from imaging.hl7.outbound import CONTROL_ID_LIMIT
from imaging.identity.telling import Held, Tell, telling
from storage.ledger.exceptions import put_problem
from storage.ledger.plan import TOLD
from storage.ledger.pool import Connection, Pool
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

    def make(self, destination_id: int, compose: Compose, untellable: Problem) -> Made:
        """Every correction that waits at the destination is in a message, or has the exception `untellable`."""
        made = Made()
        values = {"destination": destination_id, "told": TOLD}
        with self._pool.transaction("make messages") as conn:
            conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            if conn.execute(_WAITS, values).fetchone() is None:
                return made
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


_WAITS = """
select from study s join delivery w on w.study_key = s.study_key and w.revision = s.revision
where w.destination_id = %(destination)s and w.state = 'void' and w.reason = %(told)s
  and not exists (select from outbound_study o where o.study_key = s.study_key and o.revision = s.revision
                  and o.destination_id = w.destination_id)
limit 1"""

_HELD = """
with known as (
  select study_key, revision from delivery
  where destination_id = %(destination)s and state in ('written', 'validated')
  union all
  select study_key, revision from outbound_study where destination_id = %(destination)s),
believed as (select study_key, max(revision) as revision from known group by study_key)
select s.study_key, s.revision,
  b.revision < s.revision and exists (
    select from delivery w where w.study_key = s.study_key and w.revision = s.revision
      and w.destination_id = %(destination)s and w.state = 'void' and w.reason = %(told)s) as waits,
  coalesce(was.plan -> 'decision', '{}') as believed, coalesce(now.plan -> 'decision', '{}') as planned
from believed b join study s using (study_key)
join study_revision was on was.study_key = b.study_key and was.revision = b.revision
join study_revision now on now.study_key = s.study_key and now.revision = s.revision
order by s.study_key"""
