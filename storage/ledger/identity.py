"""What the hospital told about its numbers: files as they were read, the events in them, and the list of orders."""

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blake3 import blake3
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from imaging.accession.orders import Order
from imaging.accession.rules import Accession
from imaging.identity.events import (
    Delete,
    Describe,
    IdentityEvent,
    Link,
    Merge,
    Move,
    MovePart,
    Origin,
    Part,
    Register,
    RenamePart,
    Source,
    Undo,
    Unlink,
    Unrelated,
)
from imaging.identity.people import Identifier, Person
from storage.ledger.forgetting import FORGETTING, heard_digest
from storage.ledger.pool import Connection, Pool, beside_a_run, translated

ORDERS = "orders"
"""Kind of a file that holds the RIS's list; the other kinds are named as `imaging.identity.events.Source`."""

PAGE = 10_000
"""Rows fetched or copied at a time."""

REFUSED_KEPT = 10_000
"""Messages kept that cannot be used: a sender of nonsense fills no disk. Later ones are counted, their senders told."""

_NOBODY: tuple[None, None] = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalFile:
    """One file as it is now in the ledger."""

    file_id: int
    kind: str
    name: str
    read_at: datetime
    messages: int
    """Messages or rows in it."""
    events: int
    """New ones: what an earlier file had told is not counted again."""
    defects: Mapping[str, int]
    reading: str
    """Fingerprint of the issuers that its numbers were read with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """What is known of a file before it is read."""

    kind: str
    name: str
    digest: bytes
    """BLAKE3 of its bytes."""
    reading: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedMessage:
    """A message that came over a line and cannot be used as it is, or not all of it."""

    octets: bytes
    """As it came, without the frame. Patient data."""
    defects: tuple[str, ...]
    """Classes of `imaging.hl7.defects`, each once for every place."""


@dataclass(slots=True)
class Told:
    """Counted while a file is read; complete when its events are."""

    messages: int = 0
    defects: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order and where it stands."""

    line: int
    order: Order


class Identity:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def files(self) -> tuple[HospitalFile, ...]:
        """Every file that counts, the latest last."""
        with self._pool.transaction("list files") as conn:
            rows = conn.cursor(row_factory=class_row(HospitalFile)).execute(
                "select file_id, kind, name, read_at, messages, events, defects, reading from hospital_file"
                " where replaced_at is null order by file_id"
            )
            return tuple(rows)

    def unread(self, reading: str) -> tuple[str, ...]:
        """Names of files that count and were never read under these issuers; the earliest first."""
        with self._pool.transaction("list unread files") as conn:
            rows = conn.execute(_UNREAD, {"reading": reading}).fetchall()
        return tuple(name for (name,) in rows)

    def known(self, head: FileHead) -> HospitalFile | None:
        """The very same file, read earlier under the same issuers, if nothing has replaced it."""
        with self._pool.transaction("look for file") as conn:
            return (
                conn.cursor(row_factory=class_row(HospitalFile))
                .execute(
                    "select file_id, kind, name, read_at, messages, events, defects, reading from hospital_file"
                    " where kind = %s and digest = %s and reading = %s and replaced_at is null",
                    (head.kind, head.digest, head.reading),
                )
                .fetchone()
            )

    def put_events(self, head: FileHead, events: Iterable[IdentityEvent], told: Told) -> HospitalFile:
        """The file and all of its events are in the ledger, or none of it; an earlier table of its name is replaced.

        `told` is read when `events` have come to their end.
        """
        with self._pool.transaction("put events") as conn:
            conn.execute("select pg_advisory_xact_lock_shared(%s)", (FORGETTING,))
            file_id = _put_file(conn, head)
            conn.execute(
                "create temp table told_event (like identity_event) on commit drop",
            )
            with conn.cursor().copy(_COPY_EVENTS) as copy:
                for event in events:
                    if not isinstance(event, Unrelated):
                        copy.write_row(_row_of(event, head, file_id))
            fresh = _put_told(conn, file_id)
            return _end_file(conn, file_id, fresh, told)

    @beside_a_run
    def hear(
        self, name: str, reading: str, events: Sequence[IdentityEvent], refused: RefusedMessage | None
    ) -> tuple[int, int]:
        """One message that came over a line is in the ledger: its events as those of the file `name`, to which further
        messages are added, and, where it cannot be used as it is, its octets too. File and how many events are new."""
        head = FileHead(kind=Source.HL7, name=name, digest=heard_digest(name), reading=reading)
        with self._pool.transaction("hear message") as conn:
            conn.execute("select pg_advisory_xact_lock_shared(%s)", (FORGETTING,))
            row = conn.execute(_HEARD, (head.kind, head.name, head.digest, head.reading)).fetchone()
            assert row is not None  # an upsert without a condition returns its row
            file_id, defects = row
            fresh = 0
            for row in _in_order(_row_of(event, head, file_id) for event in events if not isinstance(event, Unrelated)):
                put = conn.execute(_PUT_EVENT, row).rowcount
                fresh += put
                if not put:
                    conn.execute(_PUT_REPEAT, {"digest": row[0], "file": file_id})
            if refused is not None:
                counts = Counter[str](defects) + Counter(refused.defects)
                values = (blake3(refused.octets).digest(), list(refused.defects), refused.octets, REFUSED_KEPT)
                conn.execute(_PUT_REFUSED, values)
                conn.execute("update hospital_file set defects = %s where file_id = %s", (Jsonb(counts), file_id))
            conn.execute("update hospital_file set events = events + %s where file_id = %s", (fresh, file_id))
        return file_id, fresh

    def refused(self) -> Iterator[RefusedMessage]:
        """Messages that came over a line and could not be used as they are, the oldest first."""
        with self._pool.transaction("read refused messages") as conn, conn.cursor(name="refused") as cursor:
            cursor.itersize = 100
            cursor.execute("select octets, defects from refused_message order by heard_at, digest")
            for octets, defects in cursor:
                yield RefusedMessage(octets=bytes(octets), defects=tuple(defects))

    def put_orders(self, head: FileHead, lines: Iterable[OrderLine], told: Told) -> HospitalFile:
        """As `put_events`, for the list of orders."""
        with self._pool.transaction("put orders") as conn:
            file_id = _put_file(conn, head)
            count = 0
            with conn.cursor().copy(_COPY_ORDERS) as copy:
                for one in lines:
                    order, count = one.order, count + 1
                    patient = order.patient or _NOBODY
                    number = order.accession
                    row = (file_id, one.line, number.value, number.issuer, *patient, order.study, order.procedure)
                    copy.write_row(row)
            return _end_file(conn, file_id, count, told)

    def events(self, reading: str) -> Iterator[IdentityEvent]:
        """Every event that counts and was read under these issuers, in the order of `imaging.identity.order.coarse`."""
        with self._pool.transaction("read events") as conn, conn.cursor(name="events") as cursor:
            cursor.itersize = PAGE
            cursor.execute(_EVENTS, (ORDERS, reading))
            for row in cursor:
                yield _event_of(row)

    def orders(self, reading: str, *, numbers: Collection[str], studies: Collection[str]) -> Iterator[Order]:
        """Orders of these accession numbers, whoever gave them, and of these studies, in the order of the lists; of the
        lists that count and were read under these issuers."""
        with self._pool.transaction("read orders") as conn:
            rows = conn.execute(_ORDERS, {"numbers": [*numbers], "studies": [*studies], "reading": reading})
            for accession, accession_issuer, issuer, number, study_uid, procedure in rows:
                yield Order(
                    accession=Accession(issuer=accession_issuer, value=accession),
                    patient=None if number is None else Identifier(issuer, number),
                    study=study_uid or "",
                    procedure=procedure or "",
                )


def _in_order(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By their digests, as whole files are told: two that tell the same would wait for each other."""
    return sorted(rows, key=lambda row: row[0])


@beside_a_run
def _put_told(conn: Connection, file_id: int) -> int:
    """How many of the events that were read are new. A savepoint of its own: the file is not read twice."""
    with translated("put events"), conn.transaction():
        if conn.execute("select from hospital_file where forgotten_by is not null limit 1").fetchone() is not None:
            conn.execute("update told_event set digest = digest_that_counts(digest)")
        fresh = conn.execute(
            "insert into identity_event select distinct on (digest) * from told_event order by digest"
            " on conflict (digest) do nothing"
        ).rowcount
        conn.execute(_PUT_REPEATS, {"file": file_id})
        return fresh


def _put_file(conn: Connection, head: FileHead) -> int:
    if head.kind != Source.HL7:
        conn.execute(
            "update hospital_file set replaced_at = limosa_now() where kind = %s and name = %s and replaced_at is null",
            (head.kind, head.name),
        )
    row = conn.execute(
        "insert into hospital_file (kind, name, digest, reading, messages, events, repeats_kept)"
        " values (%s, %s, %s, %s, 0, 0, true)"
        " returning file_id",
        (head.kind, head.name, head.digest, head.reading),
    ).fetchone()
    assert row is not None  # an insert without a condition returns its row
    return row[0]


def _end_file(conn: Connection, file_id: int, events: int, told: Told) -> HospitalFile:
    row = (
        conn.cursor(row_factory=class_row(HospitalFile))
        .execute(
            "update hospital_file set messages = %s, events = %s, defects = %s where file_id = %s"
            " returning file_id, kind, name, read_at, messages, events, defects, reading",
            (told.messages, events, Jsonb(told.defects or {}), file_id),
        )
        .fetchone()
    )
    assert row is not None  # inserted in this transaction
    return row


def _row_of(event: IdentityEvent, head: FileHead, file_id: int) -> tuple[object, ...]:
    origin = event.origin
    content = (origin.at, *_verb_of(event)[:1], origin.kind, origin.label, *_verb_of(event)[1:])
    # Two versions of a table have each their own events, or the replaced one would take the other's away with it.
    told = json.dumps(
        [
            head.reading,
            head.kind,
            0 if head.kind == Source.HL7 else file_id,
            *(str(one) if one is not None else None for one in content),
        ]
    )
    return (blake3(told.encode("ascii")).digest(), file_id, *(_clean(one) for one in content))


def _clean(value: object) -> object:
    """Postgres has no NUL in text; a message may."""
    return value.replace("\0", "") if isinstance(value, str) else value


def _verb_of(event: IdentityEvent) -> tuple[object, ...]:
    """verb, three numbers, part, was, became, name, birth date, sex."""
    nothing, nobody = (None, None, None), (None, None, None)
    match event:
        case Merge():
            return "rename" if event.renamed else "merge", *event.old, *event.new, *_NOBODY, *nothing, *nobody
        case Undo():
            return "undo", *event.old, *event.new, *_NOBODY, *nothing, *nobody
        case Move():
            return "move", *event.moved, *event.owner, *(event.giver or _NOBODY), *nothing, *nobody
        case MovePart():
            moved = (event.part.value, event.number, None)
            return "move-part", *event.giver, *event.owner, *_NOBODY, *moved, *nobody
        case RenamePart():
            renamed = (event.part.value, event.old, event.new)
            return "rename-part", *event.patient, *_NOBODY, *_NOBODY, *renamed, *nobody
        case Link():
            return "link", *event.one, *event.other, *_NOBODY, *nothing, *nobody
        case Unlink():
            return "unlink", *event.one, *event.other, *_NOBODY, *nothing, *nobody
        case Describe():
            return "describe", *event.identifier, *_NOBODY, *_NOBODY, *nothing, *_person(event.person)
        case Register():
            return "register", *event.identifier, *_NOBODY, *_NOBODY, *nothing, *_person(event.person)
        case Delete():
            return "delete", *event.identifier, *_NOBODY, *_NOBODY, *nothing, *nobody
        case Unrelated():
            return "unrelated", *_NOBODY, *_NOBODY, *_NOBODY, *nothing, *nobody


def _person(person: Person) -> tuple[str | None, str | None, str | None]:
    return person.name, person.birth_date, person.sex


def _event_of(row: tuple[Any, ...]) -> IdentityEvent:
    source, at, verb, kind, label, issuer, number, issuer_2, number_2, issuer_3, number_3 = row[:11]
    part, was, became, name, birth_date, sex = row[11:]
    # Few authorities and days in many rows: each is in memory once.
    issuer, issuer_2, birth_date = _kept(issuer), _kept(issuer_2), _kept(birth_date)
    origin = Origin(source=Source(source), at=at, label=label, kind=kind)
    first, second = Identifier(issuer, number), Identifier(issuer_2, number_2)
    match verb:
        case "merge" | "rename":
            return Merge(origin=origin, old=first, new=second, renamed=verb == "rename")
        case "undo":
            return Undo(origin=origin, old=first, new=second)
        case "move":
            giver = None if number_3 is None else Identifier(issuer_3, number_3)
            return Move(origin=origin, moved=first, giver=giver, owner=second)
        case "move-part":
            return MovePart(origin=origin, part=Part(part), number=was, giver=first, owner=second)
        case "rename-part":
            return RenamePart(origin=origin, part=Part(part), patient=first, old=was, new=became)
        case "link":
            return Link(origin=origin, one=first, other=second)
        case "unlink":
            return Unlink(origin=origin, one=first, other=second)
        case "register":
            return Register(origin=origin, identifier=first, person=Person(name=name, birth_date=birth_date, sex=sex))
        case "describe":
            return Describe(origin=origin, identifier=first, person=Person(name=name, birth_date=birth_date, sex=sex))
        case _:
            return Delete(origin=origin, identifier=first)


def _kept(text: str | None) -> Any:
    return None if text is None else sys.intern(text)


_COPY_EVENTS = """
copy told_event (digest, file_id, at, verb, kind, label, issuer, number, issuer_2, number_2, issuer_3, number_3,
  part, was, became, name, birth_date, sex) from stdin"""

_HEARD = """
insert into hospital_file (kind, name, digest, reading, messages, events, repeats_kept)
values (%s, %s, %s, %s, 1, 0, true)
on conflict (kind, digest, reading) where replaced_at is null
  do update set messages = hospital_file.messages + 1, read_at = limosa_now()
returning file_id, defects"""

_PUT_EVENT = """
insert into identity_event (digest, file_id, at, verb, kind, label, issuer, number, issuer_2, number_2, issuer_3,
  number_3, part, was, became, name, birth_date, sex)
values (digest_that_counts(%s), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (digest) do nothing"""

_PUT_REPEATS = """
insert into told_again (digest, file_id)
select distinct t.digest, %(file)s::bigint from told_event t join identity_event e using (digest)
where e.file_id <> %(file)s on conflict do nothing"""

_PUT_REPEAT = """
insert into told_again (digest, file_id)
select e.digest, %(file)s from identity_event e
where e.digest = digest_that_counts(%(digest)s) and e.file_id <> %(file)s on conflict do nothing"""

_PUT_REFUSED = """
insert into refused_message as r (digest, defects, octets)
select %s, %s, %s where (select count(*) from refused_message) < %s
on conflict (digest) do update set times_heard = r.times_heard + 1, heard_at = limosa_now()"""

_COPY_ORDERS = """
copy ordered (file_id, line, accession, accession_issuer, issuer, number, study_uid, procedure) from stdin"""

# A file of messages stays when it is read anew: under other issuers it says something else, and both readings are kept.
_UNREAD = """
select f.name from hospital_file f
where f.replaced_at is null and f.reading <> %(reading)s and not exists (
  select from hospital_file o
  where o.replaced_at is null and o.kind = f.kind and o.digest = f.digest and o.reading = %(reading)s)
order by f.file_id"""

_EVENTS = """
select f.kind, e.at, e.verb, e.kind, e.label, e.issuer, e.number, e.issuer_2, e.number_2, e.issuer_3, e.number_3,
  e.part, e.was, e.became, e.name, e.birth_date, e.sex
from identity_event e join hospital_file f using (file_id)
where f.replaced_at is null and f.kind <> %s and f.reading = %s
order by case f.kind when 'hl7' then 0 when 'snapshot' then 1 when 'crosswalk' then 2 else 3 end, e.at nulls last,
  array_position(array['register', 'describe', 'rename-part', 'link', 'unlink', 'move', 'move-part', 'merge', 'undo',
    'delete'], case e.verb when 'rename' then 'merge' else e.verb end),
  coalesce(e.part, e.issuer) collate "C",
  case e.verb when 'move-part' then e.was when 'rename-part' then e.issuer else e.number end collate "C" asc"""

# Each number is looked up by itself: with any other plan a page of studies would cost a pass over the whole list.
_ORDERS = """
select o.accession, o.accession_issuer, o.issuer, o.number, o.study_uid, o.procedure from (
  select found.* from unnest(%(numbers)s::text[]) wanted cross join lateral (
    select * from ordered where accession = wanted offset 0) found
  union
  select found.* from unnest(%(studies)s::text[]) wanted cross join lateral (
    select * from ordered where study_uid = wanted and study_uid <> '' offset 0) found) o
join hospital_file f using (file_id)
where f.replaced_at is null and f.reading = %(reading)s
order by o.file_id, o.line"""
