"""Files of the hospital that a person takes back: what only they told does not count any more."""

from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from storage.ledger.pool import Pool

HL7 = "hl7"

FORGETTING = 0x9_1A6
"""Key of the advisory lock that a file being forgotten holds alone, and files being read together: what one of them
tells again must not be seen by neither."""


class Unforgettable(Exception):
    """Nothing was forgotten; the sentence says why and what to do first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What became of one file."""

    file_id: int
    kind: str
    name: str
    events: int
    """Events, or orders, that do not count any more."""
    kept: int
    """Events of it that another file had told as well, and that count as that one's."""
    replaced: int | None
    """The earlier table of its name that it had taken the place of, which does not count again by itself."""


class Forgetting:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def forget(self, file_id: int, *, by: str, why: str) -> Forgotten:
        """The file counts no more, and may be read again. Decisions are as they were until the next plan.

        Raises
        ------
        Unforgettable
            There is no such file that counts; it came over a line; or nobody knows what a later file told again.
        """
        with self._pool.transaction("forget file") as conn:
            conn.execute("select pg_advisory_xact_lock(%s)", (FORGETTING,))
            row = conn.execute(
                "select kind, name, digest, events, repeats_kept from hospital_file"
                " where file_id = %s and replaced_at is null for update",
                (file_id,),
            ).fetchone()
            if row is None:
                raise Unforgettable(f"no file {file_id} counts")
            kind, name, digest, events, repeats_kept = row
            if bytes(digest) == heard_digest(name):
                raise Unforgettable(f"{name} came over a line: nobody would send it again")
            if kind == HL7 and not repeats_kept:
                _require_known(file_id, name, conn.execute(_UNKNOWN, (file_id,)).fetchall())
            conn.execute(
                "update hospital_file set replaced_at = limosa_now(), forgotten_by = %s, forgotten_why = %s"
                " where file_id = %s",
                (by, why, file_id),
            )
            kept = sum(count for (count,) in conn.execute(_HAND_OVER, (file_id,)))
            conn.execute(_REPEATS, (file_id,))
            replaced = conn.execute(_REPLACED, {"kind": kind, "name": name, "file": file_id}).fetchone()
        return Forgotten(
            file_id=file_id,
            kind=kind,
            name=name,
            events=events - kept,
            kept=kept,
            replaced=None if replaced is None else replaced[0],
        )


def _require_known(file_id: int, name: str, others: Sequence[tuple[int, str, bytes]]) -> None:
    """Nothing that is lost with the file was told by one of these others as well; or raises `Unforgettable`."""
    # A line of the same day may have an earlier number, and told things again later all the same.
    heard = [other for _, other, digest in others if bytes(digest) == heard_digest(other)]
    if heard:
        raise Unforgettable(
            f"an earlier release heard {', '.join(heard)} over a line, and nobody knows what was told again there: "
            f"say in a table of overrides what is not to hold of {name}"
        )
    told = ", ".join(f"{other} ({number})" for number, other, _ in others if number > file_id)
    if told:
        raise Unforgettable(
            f"an earlier release read {told} after {name}, and nobody knows what they told again: forget them first, "
            "the last one first, and import them anew afterwards"
        )


def heard_digest(name: str) -> bytes:
    """In place of the digest of a file that grows by messages that come over a line."""
    return blake3(f"heard\n{name}".encode()).digest()


_REPLACED = """
select max(file_id) from hospital_file
where kind = %(kind)s and kind <> 'hl7' and name = %(name)s and file_id < %(file)s and forgotten_by is null
having max(file_id) is not null"""

_UNKNOWN = """
select file_id, name, digest from hospital_file
where kind = 'hl7' and replaced_at is null and not repeats_kept and file_id <> %s
order by file_id desc"""

_HAND_OVER = """
with heir as (
  select a.digest, min(a.file_id) as file_id
  from identity_event e join told_again a using (digest) join hospital_file f on f.file_id = a.file_id
  where e.file_id = %s and f.replaced_at is null group by 1),
handed as (
  insert into identity_event (digest, file_id, at, verb, kind, label, issuer, number, issuer_2, number_2, issuer_3,
    number_3, part, was, became, name, birth_date, sex)
  select digest_that_counts(e.digest), h.file_id, at, verb, kind, label, issuer, number, issuer_2, number_2, issuer_3,
    number_3, part, was, became, name, birth_date, sex
  from identity_event e join heir h using (digest)
  returning file_id)
update hospital_file f set events = f.events + h.events
from (select file_id, count(*) as events from handed group by 1) h where f.file_id = h.file_id
returning h.events"""

_REPEATS = """
with heir as (
  select a.digest, min(a.file_id) as file_id
  from identity_event e join told_again a using (digest) join hospital_file f on f.file_id = a.file_id
  where e.file_id = %s and f.replaced_at is null group by 1)
insert into told_again (digest, file_id)
select digest_that_counts(a.digest), a.file_id
from told_again a join heir h using (digest) where a.file_id > h.file_id
on conflict do nothing"""
