"""Bounds of one DIMSE conversation; each exists so that memory or waiting has an end."""

from dataclasses import dataclass
from datetime import timedelta

MAX_PDU = 128 << 10
"""Bytes of one P-DATA-TF variable field that we offer to take and are willing to send. Measured: 16 KiB costs a
fifth of the throughput, more than 128 KiB gains nothing."""

RECEIVE_BUFFER = 1 << 20
"""Bytes of the reused receive buffer per association: eight full PDUs per system call at best."""

ASSOCIATE_CAP = 512 << 10
"""Bytes of an A-ASSOCIATE PDU. 128 contexts with 60 transfer syntaxes each, the worst seen in the wild, are a third."""

COMMAND_CAP = 16 << 10
"""Bytes of a command set. The largest legal one (a C-STORE request) stays below 1 KiB."""

PIECE = 64 << 10
"""Least bytes per write to a file and update of its digest: BLAKE3 reaches full speed here."""

STEP = 256 << 10
"""Bytes in memory per update of their digest; what was received last is still in the processor's cache."""

PROGRESS = 64 << 10
"""Dataset bytes that count as progress; a peer that drips less within `Limits.stall` is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a receiver."""

    associations: int = 64
    """More are rejected with 'local limit exceeded' (a transient reason: the peer comes back)."""
    connections: int = 160
    """Connections of any kind, those without an association included: beyond it they are closed at once. Leaves room
    for polite rejections without letting a port scan start a thread per packet."""
    dataset: int = 16 << 30
    """Bytes of one dataset. Whole-slide and 4D ultrasound objects reach several GB; nothing known reaches 16."""
    opening: timedelta = timedelta(seconds=30)
    """For TLS and the A-ASSOCIATE-RQ: the ARTIM timer of PS3.8 section 9.1.5."""
    idle: timedelta = timedelta(minutes=15)
    """Between two messages: some archives keep an association for their next C-MOVE, a dead one frees its slot."""
    stall: timedelta = timedelta(seconds=120)
    """For the next `PROGRESS` bytes inside a message: archives stream from tape, but not this slowly."""
    leaving: timedelta = timedelta(seconds=2)
    """For the peer to read our A-ABORT or A-RELEASE-RP and close, before we do."""
