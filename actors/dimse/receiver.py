"""The C-STORE receiver: one listening socket, one blocking thread per association.

Written for the wire because the archive's time is what a migration costs: measured against a general DICOM library it
takes seven times the bytes per second and core, and it never lets Nagle's algorithm wait for a delayed acknowledgement.
"""

import contextlib
import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from actors.callers import Callers, doubled
from actors.dimse.associate import AssociateRequest
from actors.dimse.association import Association, Service
from actors.dimse.inbound import SUCCESS, Storage
from actors.dimse.incoming import InstanceHandler
from actors.dimse.landing import LandingFactory
from actors.dimse.limits import Limits
from actors.dimse.negotiation import Refusal, refuse
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.dimse.wire import Wire, read_out
from actors.listening import Listener, tcp_listening
from actors.options import Receiver as ReceiverOptions

BACKLOG = 128
"""Connections the kernel holds while the acceptor is busy: a node's whole C-MOVE fan-out at once."""
TLS_RECORD = 16 << 10
"""Bytes read at a time from who failed the TLS handshake."""
DRAIN = timedelta(seconds=20)
"""How long `stop` waits for instances in flight: longer than one large instance takes on a slow line."""

log = structlog.get_logger()


@dataclass(slots=True)
class ReceiverStats:
    """Counts since start; reasons are members of `Refusal` and `Violation`, or words of this module."""

    open_associations: int = 0
    associations: int = 0
    instances: int = 0
    """Answered with success."""
    refused_instances: int = 0
    """Answered with any other status."""
    bytes: int = 0
    """Dataset bytes of all instances."""
    rejected: Counter[str] = field(default_factory=Counter[str])
    """Associations and connections that were not let in."""
    aborted: Counter[str] = field(default_factory=Counter[str])
    """Associations that ended otherwise than by a release."""


class Receiver:
    """Listens from `start` to `stop`. The handler is called from the associations' threads."""

    def __init__(
        self,
        options: ReceiverOptions,
        landing: LandingFactory,
        handler: InstanceHandler,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options = options
        self._limits = limits or Limits()
        self._tls = tls
        self._service = Service(
            storage=Storage(
                landing=landing, handler=handler, longest=self._limits.dataset, stored=self._count_instance
            ),
            limits=self._limits,
            admit=self._admit,
            stopped=lambda: self._listener.stopped(),
        )
        callers = Callers(options.allow)
        self._listener = Listener(
            self._serve,
            name="dimse",
            most=self._limits.connections,
            admits=lambda connection, address: callers.admits(address),
            turned_away=self._count_rejected,
        )
        self._lock = threading.Lock()
        self._stats = ReceiverStats()
        self._wires: set[Wire] = set()

    @property
    def port(self) -> int:
        """The port it listens on. Raises `ValueError` before `start`."""
        return self._listener.port

    @property
    def stats(self) -> ReceiverStats:
        """A copy of the counts."""
        with self._lock:
            now = self._stats
            return ReceiverStats(
                open_associations=now.open_associations,
                associations=now.associations,
                instances=now.instances,
                refused_instances=now.refused_instances,
                bytes=now.bytes,
                rejected=Counter(now.rejected),
                aborted=Counter(now.aborted),
            )

    def start(self) -> None:
        """Peers can connect. Raises `OSError` when the address cannot be had."""
        options = self._options
        # Most sites register one AE title and port for us: then the kernel spreads connections over the processes. Not
        # shared by a single process, where a second listener can only be a mistake.
        shared = options.largest > 1
        self._listener.start(tcp_listening(options.host, options.port, backlog=BACKLOG, shared=shared))

    def stop(self, drain: timedelta = DRAIN) -> bool:
        """Nobody can connect any more; instances in flight had `drain` to end. True when all threads ended."""
        self._listener.close()
        if self._listener.join(drain):
            return True
        with self._lock:
            wires = tuple(self._wires)
        for wire in wires:
            wire.shut()
        return self._listener.join(self._limits.leaving)

    def _serve(self, connection: socket.socket, address: str) -> None:
        wire: Wire | None = None
        association: Association | None = None
        ended = ""
        try:
            wire = Wire(self._secured(connection), self._listener.stopped)
            with self._lock:
                self._wires.add(wire)
            association = Association(wire, address, self._service)
            association.serve()
        except ProtocolViolation as violation:
            ended = violation.reason.value
        except PeerGone:
            ended = "stopped" if self._listener.stopped() else "peer_gone"
        except ssl.SSLError:
            ended = "tls"
        except OSError:
            ended = "connection"
        except Exception as fault:  # outermost frame: a fault of ours ends one association, not all
            ended = "fault"
            log.error("association_fault", kind=type(fault).__name__)
        admitted = association is not None and association.admitted
        with self._lock:
            if wire is not None:
                self._wires.remove(wire)
            self._stats.open_associations -= admitted
        if ended and admitted:
            self._count_aborted(ended)
        elif ended:
            self._count_rejected(ended)

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        connection.settimeout(self._limits.opening.total_seconds())
        secured = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            secured.do_handshake()
        except ssl.SSLError:
            # Its alert tells the peer what is wrong.
            self._let_read(socket.socket(fileno=secured.detach()))
            raise
        except OSError:
            secured.close()
            raise
        return secured

    def _let_read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            read_out(connection, memoryview(bytearray(TLS_RECORD)), self._limits.leaving.total_seconds())

    def _admit(self, request: AssociateRequest) -> Refusal | None:
        refusal = refuse(request, self._options.ae_title, self._options.callers)
        with self._lock:
            stats = self._stats
            if refusal is None and stats.open_associations >= self._limits.associations:
                refusal = Refusal.FULL
            if refusal is None:
                stats.open_associations += 1
                stats.associations += 1
        if refusal is not None:
            self._count_rejected(refusal)
        return refusal

    def _count_instance(self, size: int, status: int) -> None:
        with self._lock:
            self._stats.bytes += size
            self._stats.instances += status == SUCCESS
            self._stats.refused_instances += status != SUCCESS

    def _count_rejected(self, reason: str) -> None:
        count = self._counted(self._stats.rejected, reason)
        if doubled(count):
            log.warning("association_refused", reason=str(reason), count=count)

    def _count_aborted(self, reason: str) -> None:
        count = self._counted(self._stats.aborted, reason)
        if doubled(count):
            log.warning("association_aborted", reason=str(reason), count=count)

    def _counted(self, counter: Counter[str], reason: str) -> int:
        with self._lock:
            counter[reason] += 1
            return counter[reason]
