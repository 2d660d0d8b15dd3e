"""The lies a PACS tells, one knob each. All of them were met in hospitals or in well-known products.

The default is a truthful archive. A record is frozen: to change the weather while the simulator runs,
assign a new one (`simulator.faults = replace(simulator.faults, find_cap=100)`).
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class CapEnd(StrEnum):
    """How a query ends that had more answers than the cap allows."""

    SUCCESS = "success"
    REFUSED = "refused"
    """A700 out of resources."""
    CANCELLED = "cancelled"
    """FE00, though nobody cancelled."""


class Counts(StrEnum):
    """What NumberOf...RelatedSeries/Instances say."""

    TRUE = "true"
    ABSENT = "absent"
    HIGH = "high"
    """One too many, as when rejected objects are counted."""
    ZERO = "zero"


class Originator(StrEnum):
    """Whose AE title a C-STORE names as Move Originator."""

    REQUESTER = "requester"
    OWN = "own"
    ABSENT = "absent"


class Uids(StrEnum):
    """Which SOP Instance UIDs a retrieve sends."""

    STORED = "stored"
    REWRITTEN = "rewritten"
    """Others than the query names, the same at every retrieve."""
    FRESH = "fresh"
    """Others at every retrieve."""


class Order(StrEnum):
    STORED = "stored"
    REVERSED = "reversed"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """A truthful archive unless told otherwise. Times in seconds; None switches a limit off."""

    # Associations
    association_limit: int | None = None
    """Further associations are rejected as transient: local limit exceeded."""
    known_callers: tuple[str, ...] | None = None
    """Only these calling AE titles are accepted."""
    check_called_ae: bool = False

    # C-FIND
    find_cap: int | None = None
    find_cap_end: CapEnd = CapEnd.SUCCESS
    find_abort_after: int | None = None
    """The association is aborted after this many answers, for the first `find_aborts` queries."""
    find_aborts: int | None = None
    find_fail_status: int | None = None
    """Every query ends at once with this status."""
    find_latency: float = 0.0
    """Before each answer."""
    study_per_patient: bool = False
    """A study whose instances name several patients is listed once under each."""
    duplicate_rows: int = 0
    """Each answer comes this many times more."""
    series_per_instance: bool = False
    """SERIES answers come once for each instance of the series."""
    counts: Counts = Counts.TRUE
    absent_keys: tuple[str, ...] = ()
    """Keywords this archive never returns, such as ModalitiesInStudy."""
    ignored_keys: tuple[str, ...] = ()
    """Keywords this archive does not match on: it answers as if they were empty."""
    undecodable_every: int | None = None
    """Each n-th answer's identifier is no dataset."""
    undated_match_ranges: bool = False
    """Studies without a date answer every date range, instead of none."""
    charset_undeclared: bool = False
    """Answers lack (0008,0005), their bytes unchanged."""
    image_find_refused: bool = False
    relational: bool = False
    """Keys of upper levels may be left out, as relational queries allow."""

    # C-GET, which all of the following bends, too
    get_refused: bool = False
    """The service is not offered, as in most archives that are not asked for it."""

    # C-MOVE: what is sent
    lost_per_study: int = 0
    """Instances of each study silently left out and counted as completed."""
    lost_moves: int | None = None
    """Only the first n retrieves of a study lose instances; None: every one."""
    lost_sop_uids: tuple[str, ...] = ()
    """These are never sent, and counted as completed."""
    unasked: int = 0
    """Instances of other studies pushed along with every retrieve."""
    repeated_stores: int = 0
    """Each instance is sent this many times more."""
    malformed: tuple[bytes, ...] = ()
    """Datasets sent at the end of every retrieve under UIDs nobody asked for; hexadecimal in TOML."""
    order: Order = Order.STORED
    uids: Uids = Uids.STORED
    unstable_bytes: bool = False
    """One pixel byte differs at every retrieve."""

    # C-MOVE: what is said
    unknown_study_status: int = 0x0000
    """For a study the archive does not have: success with nothing completed is what most products say."""
    refuse_destinations: bool = False
    """A801 for every destination, known or not."""
    busy_above: int | None = None
    """More C-MOVEs than this at a time are refused with `busy_status`."""
    busy_status: int = 0xA702
    first_refusal_fatal: bool = False
    """C000 with zero counts at the first instance the destination cannot take."""
    originator: Originator = Originator.REQUESTER
    pending_every: int = 1
    """A pending response after each n-th instance; 0: none at all."""
    silent_move: bool = False
    """The final response never comes."""
    cancel_ignored: bool = False

    # C-MOVE: when
    final_before_last: float | None = None
    """The final response leaves before the last C-STORE, which follows so many seconds later."""
    late_push: float | None = None
    """The last instance comes on an association of its own, so many seconds after the retrieve is over."""
    abort_move_after: int | None = None
    """The C-MOVE association is aborted after n instances, for the first `aborts` retrieves."""
    abort_store_after: int | None = None
    """The C-STORE association is aborted after n instances, for the first `aborts` retrieves."""
    aborts: int | None = None
    """None: every retrieve."""
    store_latency: float = 0.0
    """Before each C-STORE."""
    bandwidth: int | None = None
    """Bytes per second and association."""

    # How bytes leave
    small_writes: bool = False
    """Nagle left on and header, command and data written apart, as dcmtk does by default: every instance
    waits for a delayed acknowledgement unless the receiver acknowledges at once."""
    store_pdu: int = 131072
    """Longest PDU sent; many products stay at 16384 whatever the receiver offers."""


def faults_from(values: Mapping[str, Any], start: Faults | None = None) -> Faults:
    """`start` with the named knobs turned; values as TOML or JSON have them.

    Raises
    ------
    ValueError
        A name is no knob, or a value does not fit it.
    """
    knobs = {field.name: field for field in dataclasses.fields(Faults)}
    turned: dict[str, Any] = {}
    for name, value in values.items():
        if name not in knobs:
            raise ValueError(f"no such fault: {name}")
        default = knobs[name].default
        if isinstance(default, StrEnum):
            value = type(default)(value)
        elif name == "malformed":
            value = tuple(bytes.fromhex(text) for text in value)
        elif isinstance(value, list):
            value = tuple(value)
        turned[name] = value
    return dataclasses.replace(start or Faults(), **turned)


def load_faults(path: Path) -> Faults:
    """The faults a TOML file names, one key each."""
    return faults_from(tomllib.loads(path.read_text()))
