"""What identity and accession change in one dataset, in the terms of `imaging.coercion`; nothing else is touched.

Patient Age, size, weight, report texts and burned-in pixels stay: they say what was true or seen that day.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from imaging.accession.rules import Accession
from imaging.coercion.attributes import unfit_value, vr_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.plan import Change
from imaging.coercion.rules import Reason
from imaging.coercion.sequences import Items, Piece, encode_items, items_of, made, value_of, with_piece
from imaging.elements import Encoding
from imaging.identity.issuers import Authority
from imaging.identity.people import Identifier, Person
from imaging.identity.tags import (
    ACCESSION,
    ACCESSION_ISSUER,
    BIRTH_DATE,
    ISSUER,
    NAME,
    OTHER_IDS,
    PATIENT_ID,
    QUALIFIERS,
    REFERENCED_REQUEST,
    REQUEST_ATTRIBUTES,
    SEX,
    TYPE,
)

LOCAL_ENTITY, UNIVERSAL_ENTITY, UNIVERSAL_TYPE = 0x00400031, 0x00400032, 0x00400033
BURNED_IN = 0x00280301


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a study's identity shall be: decided once per study, the same for each of its instances.

    Raises
    ------
    ValueError
        Accessions form a chain: twice would not be the same as once.
    """

    rule: str
    """Label of the rules that decided, with their version."""
    patient: Identifier | None = None
    """The surviving number; None: the patient's number is left alone."""
    authority: Authority | None = None
    """Of its issuer, for the qualifiers."""
    person: Person = Person()  # noqa: RUF009
    """What is None or empty here stays in the header: an index without a name takes none from an image."""
    accessions: tuple[tuple[str, Accession], ...] = ()
    """What headers of the study say, without outer spaces, and what each becomes."""
    accession_rule: str = ""

    def __post_init__(self) -> None:
        table = dict(self.accessions)
        if any(table.get(one.value, one).value != one.value for one in table.values()):
            raise ValueError("an accession number becomes one that becomes another")


def changes_of(dataset: Dataset, target: Target) -> tuple[Change, ...]:
    """Every attribute that differs from the target, and only those; none when asked again about the outcome.

    Raises
    ------
    NotCoercible
        A value cannot be written in the dataset's character set, or a sequence to be changed cannot be read.
    """
    return tuple(
        sorted((*_patient(dataset, target), *_person(dataset, target), *_accessions(dataset, target)), key=_tag)
    )


def shows_another_name(dataset: Dataset, changes: tuple[Change, ...]) -> bool:
    """The name changes and the image says that annotations are burned in: pixels may show the old one."""
    return any(change.tag == NAME for change in changes) and dataset.text(BURNED_IN).strip() == "YES"


def _tag(change: Change) -> int:
    return change.tag


def _patient(dataset: Dataset, target: Target) -> Iterator[Change]:
    if target.patient is None:
        return
    old, issuer = dataset.raw(PATIENT_ID) or b"", dataset.raw(ISSUER) or b""
    yield from _text(dataset, target.rule, PATIENT_ID, target.patient.value)
    yield from _text(dataset, target.rule, ISSUER, target.patient.issuer)
    moved = old.strip() != dataset.encoded(PATIENT_ID, target.patient.value)
    other_issuer = issuer.strip() != dataset.encoded(ISSUER, target.patient.issuer)
    if old.strip() and (moved or (issuer.strip() and other_issuer)):
        yield from _kept(dataset, target, old, issuer)
    yield from _qualified(dataset, target, issuer_differs=bool(issuer.strip()) and other_issuer)


def _kept(dataset: Dataset, target: Target, old: bytes, issuer: bytes) -> Iterator[Change]:
    """The previous number among the other ones, once."""
    held = items_of(dataset, OTHER_IDS)
    if any((value_of(one, PATIENT_ID), value_of(one, ISSUER)) == (old, issuer) for one in held.items):
        return
    named = ((PATIENT_ID, "LO", old), (ISSUER, "LO", issuer), (TYPE, "CS", b"TEXT"))
    item = tuple(made(tag, vr, value, held.encoding) for tag, vr, value in named if value)
    # Items that are there stay byte for byte; ours comes behind them.
    yield _sequence(dataset, target.rule, OTHER_IDS, held, held.value + encode_items((item,), held.encoding))


def _qualified(dataset: Dataset, target: Target, *, issuer_differs: bool) -> Iterator[Change]:
    """The universal id of the issuer where it has one; that of the issuer before does not stay."""
    authority = target.authority
    if authority is not None and authority.universal_id:
        wanted = ((UNIVERSAL_ENTITY, authority.universal_id), (UNIVERSAL_TYPE, authority.universal_type))
        yield from _entity(dataset, target.rule, QUALIFIERS, wanted)
    elif issuer_differs and dataset.has(QUALIFIERS):
        yield _sequence(dataset, target.rule, QUALIFIERS, items_of(dataset, QUALIFIERS), None)


def _person(dataset: Dataset, target: Target) -> Iterator[Change]:
    told = ((NAME, target.person.name), (BIRTH_DATE, target.person.birth_date), (SEX, target.person.sex))
    for tag, value in told:
        if value:
            yield from _text(dataset, target.rule, tag, value)


def _accessions(dataset: Dataset, target: Target) -> Iterator[Change]:
    table = dict(target.accessions)
    rule = target.accession_rule or target.rule
    if not table:
        return
    new = table.get(dataset.text(ACCESSION).strip())
    if new is not None:
        yield from _text(dataset, rule, ACCESSION, new.value)
        named = (
            (LOCAL_ENTITY, new.issuer),
            (UNIVERSAL_ENTITY, new.universal_id),
            (UNIVERSAL_TYPE, new.universal_type),
        )
        wanted = tuple((tag, value) for tag, value in named if value)
        if wanted:
            yield from _entity(dataset, rule, ACCESSION_ISSUER, wanted)
    for tag in (REQUEST_ATTRIBUTES, REFERENCED_REQUEST):
        yield from _requests(dataset, rule, tag, table)


def _requests(dataset: Dataset, rule: str, tag: int, table: dict[str, Accession]) -> Iterator[Change]:
    """The accessions inside of requests; one that the table does not name is another order's and stays."""
    held = items_of(dataset, tag)
    items = [_requested(dataset, item, held.encoding, table) for item in held.items]
    if tuple(items) != held.items:
        yield _sequence(dataset, rule, tag, held, encode_items(items, held.encoding))


def _requested(
    dataset: Dataset, item: tuple[Piece, ...], encoding: Encoding, table: dict[str, Accession]
) -> tuple[Piece, ...]:
    written = value_of(item, ACCESSION)
    if not written.isascii():
        return item
    new = table.get(written.decode("ascii").strip())
    if new is None or dataset.encoded(ACCESSION, new.value) == written:
        return item
    return with_piece(item, made(ACCESSION, "SH", dataset.encoded(ACCESSION, new.value), encoding))


def _entity(dataset: Dataset, rule: str, tag: int, wanted: tuple[tuple[int, str], ...]) -> Iterator[Change]:
    """A sequence of one item that says who gives the numbers; what else an item says of it stays."""
    held = items_of(dataset, tag)
    values = [(one, vr_of(one), dataset.encoded(one, value)) for one, value in wanted]
    first = held.items[0] if len(held.items) == 1 else ()
    if first and all(value_of(first, one) == value for one, _, value in values):
        return
    # Another issuer's item says nothing of this one, so it is not continued.
    item = tuple(made(one, vr, value, held.encoding) for one, vr, value in values)
    yield _sequence(dataset, rule, tag, held, encode_items((item,), held.encoding))


def _sequence(dataset: Dataset, rule: str, tag: int, held: Items, after: bytes | None) -> Change:
    before = held.value if dataset.element(tag) is not None else None
    return Change(rule=rule, reason=Reason.COERCE, tag=tag, vr=held.vr, before=before, after=after)


def _text(dataset: Dataset, rule: str, tag: int, value: str) -> Iterator[Change]:
    if defect := unfit_value(tag, value):
        raise NotCoercible(f"the new value has {defect}", tag=tag, rule=rule)
    before, after = dataset.raw(tag), dataset.encoded(tag, value)
    if _plain(tag, before or b"") != _plain(tag, after):
        yield Change(rule=rule, reason=Reason.COERCE, tag=tag, vr=vr_of(tag), before=before, after=after)


def _plain(tag: int, value: bytes) -> bytes:
    """Without what means nothing: outer spaces, and the empty ends of a name."""
    value = value.strip()
    return value.rstrip(b"^= ") if tag == NAME else value
