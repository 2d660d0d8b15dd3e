"""Whether a dose report has what TID 10011 asks for; no validator that is freely at hand looks at templates.

A table of rows for TID 10011, 10012, 10013 and what they include, as far as CT needs them (PS3.16 2024e), held against
the content tree: order, relationship, value type, how often, under which condition, and codes that are fixed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imaging.header import Header
from imaging.values import Values

_RELATION, _TYPE, _NAME, _CHILDREN = 0x0040A010, 0x0040A040, 0x0040A043, 0x0040A730
_CODE, _SCHEME, _MEASURED, _UNITS, _QUALIFIER = 0x00080100, 0x00080102, 0x0040A300, 0x004008EA, 0x0040A301
_NUMERIC, _TEMPLATES, _TEMPLATE, _RESOURCE = 0x0040A30A, 0x0040A504, 0x0040DB00, 0x00080105
_VALUES = {"CODE": 0x0040A168, "TEXT": 0x0040A160, "UIDREF": 0x0040A124, "DATETIME": 0x0040A120}
_DEPTH = 16
"""Content items inside each other; the template has six."""


@dataclass(frozen=True, slots=True)
class Item:
    """One content item, read."""

    values: Values
    relation: str
    type: str
    name: str
    children: tuple["Item", ...]

    def named(self, code: str) -> tuple["Item", ...]:
        return tuple(child for child in self.children if child.name == code)

    @property
    def code(self) -> str:
        """The coded value."""
        found = self.values.items(_VALUES["CODE"])
        return found[0].text(_CODE) if found else ""


Condition = Callable[[Sequence[Item]], bool]
"""Asked with the items above a row's, the root first."""
_CONSTANT_ANGLE, _SEQUENCED, _SPIRAL = "113805", "113804", "116152004"


def _always(above: Sequence[Item]) -> bool:
    del above
    return True


def _motions(above: Sequence[Item]) -> set[str]:
    """CT Acquisition Type of the acquisition that the row is in."""
    return {each.code for item in above if item.name == "113819" for each in item.named("113820")}


def _turning(above: Sequence[Item]) -> bool:
    """TID 10013 rows 19 and 21: the acquisition is none of constant angle."""
    return _CONSTANT_ANGLE not in _motions(above)


def _advancing(above: Sequence[Item]) -> bool:
    """TID 10013 row 12: the acquisition is spiral or sequenced."""
    return not _motions(above).isdisjoint((_SPIRAL, _SEQUENCED))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a template: what a parent must hold, and what that must hold in turn."""

    relation: str
    type: str
    code: str
    most: int = 1
    wanted: Condition | None = _always
    """None: may be absent."""
    unit: str = ""
    codes: tuple[str, ...] = ()
    """What a coded value must be one of; empty: the context group can be extended."""
    below: tuple["Row", ...] = ()


_MANY = 100_000
_DEVICE = Row(
    "CONTAINS",
    "CODE",
    "113876",
    below=tuple(Row("HAS PROPERTIES", "TEXT", code) for code in ("113878", "113879", "113880")),
)


def _num(code: str, unit: str, wanted: Condition | None = _always) -> Row:
    return Row("CONTAINS", "NUM", code, wanted=wanted, unit=unit)


_SOURCE = Row(
    "CONTAINS",
    "CONTAINER",
    "113831",
    most=_MANY,
    below=(
        Row("CONTAINS", "TEXT", "113832"),
        _num("113733", "kV"),
        _num("113833", "mA"),
        _num("113734", "mA"),
        _num("113834", "s", _turning),
    ),
)
_PARAMETERS = Row(
    "CONTAINS",
    "CONTAINER",
    "113822",
    below=(
        _num("113824", "s"),
        _num("113825", "mm"),
        _num("113826", "mm"),
        _num("113827", "mm"),
        _num("113828", "{ratio}", _advancing),
        _num("113823", "{X-Ray sources}"),
        _SOURCE,
    ),
)
_DOSE = Row(
    "CONTAINS",
    "CONTAINER",
    "113829",
    wanted=_turning,
    below=(_num("113830", "mGy"), Row("CONTAINS", "CODE", "113835"), _num("113838", "mGy.cm")),
)
_ACQUISITION = Row(
    "CONTAINS",
    "CONTAINER",
    "113819",
    most=_MANY,
    below=(
        Row("CONTAINS", "TEXT", "125203", wanted=None),
        Row("CONTAINS", "CODE", "123014"),
        Row("CONTAINS", "CODE", "113820"),
        Row("CONTAINS", "UIDREF", "113769"),
        _PARAMETERS,
        _DOSE,
        _DEVICE,
    ),
)
_SUBTOTAL = Row(
    "HAS PROPERTIES",
    "NUM",
    "130745",
    most=_MANY,
    wanted=None,
    unit="mGy.cm",
    below=(Row("HAS PROPERTIES", "CODE", "113835"),),
)
_TOTAL = Row("CONTAINS", "NUM", "113813", unit="mGy.cm", below=(_SUBTOTAL,))
_ACCUMULATED = Row("CONTAINS", "CONTAINER", "113811", below=(_num("113812", "{events}"), _TOTAL, _DEVICE))
TID_10011 = (
    Row("HAS CONCEPT MOD", "CODE", "121049", wanted=None),
    Row(
        "HAS CONCEPT MOD",
        "CODE",
        "121058",
        codes=("77477000",),
        below=(Row("HAS CONCEPT MOD", "CODE", "363703001"),),
    ),
    Row("HAS OBS CONTEXT", "CODE", "121005", codes=("121007",)),
    Row("HAS OBS CONTEXT", "UIDREF", "121012"),
    Row("HAS OBS CONTEXT", "TEXT", "121013", wanted=None),
    Row("HAS OBS CONTEXT", "DATETIME", "113809"),
    Row("HAS OBS CONTEXT", "DATETIME", "113810"),
    Row("HAS OBS CONTEXT", "CODE", "113705", codes=("113014",), below=(Row("HAS PROPERTIES", "UIDREF", "110180"),)),
    _ACCUMULATED,
    _ACQUISITION,
    Row("CONTAINS", "TEXT", "121106", wanted=None),
    Row("CONTAINS", "CODE", "113854", most=_MANY),
)
_SAID = {"113701": "10011", "113811": "10012", "113819": "10013"}
"""Containers that name their template."""


def defects(header: Header) -> tuple[str, ...]:
    """What the report lacks or has wrong, by the codes of the content items on the way; empty: nothing."""
    values = Values.of(header)
    root = _item(values, _DEPTH)
    if root.type != "CONTAINER" or root.name != "113701":
        return ("the root is no X-Ray Radiation Dose Report",)
    return tuple([*_template(root, "113701"), *_held_against((root,), TID_10011, "113701"), *_sums(root)])


def _item(values: Values, depth: int) -> Item:
    names = values.items(_NAME)
    children = tuple(_item(child, depth - 1) for child in values.items(_CHILDREN)) if depth else ()
    return Item(
        values=values,
        relation=values.text(_RELATION),
        type=values.text(_TYPE),
        name=names[0].text(_CODE) if names else "",
        children=children,
    )


def _held_against(above: Sequence[Item], rows: tuple[Row, ...], path: str) -> Iterator[str]:
    """The children of the last of `above`."""
    parent, places = above[-1], {row.code: place for place, row in enumerate(rows)}
    last = 0
    for child in parent.children:
        place = places.get(child.name)
        if place is None:
            yield f"{path}>{child.name or 'nameless'}: not in the template"
        elif place < last:
            yield f"{path}>{child.name}: stands behind {rows[last].code}"
        else:
            last = place
    for row in rows:
        found = parent.named(row.code)
        here = f"{path}>{row.code}"
        if not found and row.wanted is not None and row.wanted(above):
            yield f"{here}: is missing"
        if len(found) > row.most:
            yield f"{here}: occurs {len(found)} times"
        for item in found:
            yield from _one((*above, item), row, here)


def _one(path: Sequence[Item], row: Row, here: str) -> Iterator[str]:
    item = path[-1]
    if item.relation != row.relation:
        yield f"{here}: related by {item.relation or 'nothing'} instead of {row.relation}"
    if item.type != row.type:
        yield f"{here}: of type {item.type} instead of {row.type}"
    elif item.type == "NUM":
        yield from _measured(item, row, here)
    elif item.type == "CODE":
        if not item.code:
            yield f"{here}: without a code"
        elif row.codes and item.code not in row.codes:
            yield f"{here}: is {item.code} instead of {' or '.join(row.codes)}"
    elif item.type != "CONTAINER" and not item.values.text(_VALUES[item.type]):
        yield f"{here}: without a value"
    yield from _template(item, here)
    yield from _held_against(path, row.below, here)


def _measured(item: Item, row: Row, here: str) -> Iterator[str]:
    if item.values.element(_MEASURED) is None:
        yield f"{here}: without Measured Value Sequence, which may be empty but not absent"
        return
    measured = item.values.items(_MEASURED)
    if not measured:
        if not item.values.items(_QUALIFIER):
            yield f"{here}: neither a value nor why there is none"
        return
    units = measured[0].items(_UNITS)
    if not units or (units[0].text(_CODE), units[0].text(_SCHEME)) != (row.unit, "UCUM"):
        yield f"{here}: not in {row.unit}"
    if not measured[0].numbers(_NUMERIC):
        yield f"{here}: no number"


def _template(item: Item, here: str) -> Iterator[str]:
    wanted = _SAID.get(item.name) if item.type == "CONTAINER" else None
    if wanted is None:
        return
    said = item.values.items(_TEMPLATES)
    if not said or (said[0].text(_TEMPLATE), said[0].text(_RESOURCE)) != (wanted, "DCMR"):
        yield f"{here}: does not say that it follows template {wanted}"


def _sums(root: Item) -> Iterator[str]:
    """What is counted must be what is listed."""
    acquisitions = root.named("113819")
    uids = [each.values.text(_VALUES["UIDREF"]) for one in acquisitions for each in one.named("113769")]
    if len(set(uids)) < len(uids):
        yield "113819: two acquisitions are the same irradiation event"
    for accumulated in root.named("113811"):
        for count in accumulated.named("113812"):
            stated = [number for one in count.values.items(_MEASURED) for number in one.numbers(_NUMERIC)]
            if stated and stated[0] != len(acquisitions):
                yield f"113812: counts {stated[0]} events where {len(acquisitions)} are listed"
