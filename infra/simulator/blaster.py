"""A sender that is never the bottleneck: C-STOREs encoded beforehand, of which only the numbers change.

    python -m infra.simulator.blaster --port 11112 --associations 4 --instances 2000

Every instance has a SOP Instance UID of its own, in the command and in the dataset; nothing else differs between two of
the same sample, so that sending one is two small writes into a buffer and one system call. Each association waits
for its C-STORE response before it sends the next instance, as PACS do.

For senders that are slow in other ways: latency before each instance, a cap on bandwidth, and writing as dcmtk does
(header and body apart, Nagle's algorithm on). One process fills about a core; start several for more.
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from infra.simulator.archive import Instance
from infra.simulator.shots import HEAD, Encoded, Proof, Shot, uids_of
from infra.simulator.specs import archive_from
from infra.simulator.store import Refused, StoreAssociation
from infra.simulator.wire import MAX_PDU, ConnectionEnded

LOST = "LOST"
"""In place of a status: the association broke."""
SAMPLES = 8
"""Instances of the archive that are encoded: with half a megabyte each they do not stay in a core's own cache."""
HELD_BYTES = 256 << 20
"""Fewer samples when they would be longer than this together."""


class Writes(StrEnum):
    """How an instance is handed to the kernel."""

    WHOLE = "whole"
    """In one call, TCP_NODELAY on."""
    PIECES = "pieces"
    """Header and body of a PDU apart and Nagle's algorithm on, as dcmtk's senders do unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent, to whom and how."""

    ports: tuple[int, ...]
    """Associations are spread over them in turn."""
    host: str = "127.0.0.1"
    called_ae: str = "LIMOSA"
    calling_ae: str = "BLASTER"
    associations: int = 1
    instances: int = 1000
    """All associations together."""
    latency: float = 0.0
    """Seconds each association waits before each instance."""
    bandwidth: int | None = None
    """Bytes per second of each association."""
    writes: Writes = Writes.WHOLE
    longest_pdu: int = MAX_PDU


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was sent and answered."""

    instances: int
    bytes: int
    """Dataset bytes."""
    started: float
    """`time.monotonic`, the same clock for every process of a machine."""
    ended: float
    """The last response was here."""
    cpu_seconds: float
    statuses: Mapping[str, int]
    """Responses by status, four hexadecimal digits; LOST for instances whose association broke."""
    proofs: tuple[Proof, ...]
    """The last instance of each association."""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Blaster:
    """The associations of one plan: `open`, `fire` as often as wanted, `close`, and again."""

    def __init__(self, plan: Plan, samples: Sequence[Instance]) -> None:
        """The samples are of one SOP class and transfer syntax and shorter than memory."""
        self._plan = plan
        self._samples = samples
        self._encoded: dict[int, list[Encoded]] = {}
        self._barrels: list[_Barrel] = []

    def open(self) -> None:
        """All associations are negotiated. Raises `Refused`."""
        try:
            for number in range(self._plan.associations):
                self._barrels.append(_Barrel(self._plan, self._samples, number, self._encoded))
        except Refused:
            self.close()
            raise

    def fire(self) -> Outcome:
        """Everything was sent and answered, or its association is lost."""
        share, rest = divmod(self._plan.instances, len(self._barrels))
        gate = threading.Barrier(len(self._barrels) + 1)
        threads = [
            threading.Thread(target=barrel.fire, args=(share + (number < rest), gate), name=f"blaster-{number}")
            for number, barrel in enumerate(self._barrels)
        ]
        for thread in threads:
            thread.start()
        before = _cpu_seconds()
        gate.wait()
        started = time.monotonic()
        for thread in threads:
            thread.join()
        ended = time.monotonic()
        cpu = _cpu_seconds() - before
        statuses = sum((barrel.statuses for barrel in self._barrels), Counter[str]())
        return Outcome(
            instances=statuses.total(),
            bytes=sum(barrel.bytes for barrel in self._barrels),
            started=started,
            ended=ended,
            cpu_seconds=cpu,
            statuses=dict(statuses),
            proofs=tuple(proof for barrel in self._barrels if (proof := barrel.proof()) is not None),
        )

    def close(self) -> None:
        """The associations are released."""
        for barrel in self._barrels:
            barrel.close()
        self._barrels.clear()


class _Barrel:
    """One association. `fire` belongs to one thread, everything else to the one that waits for it."""

    def __init__(self, plan: Plan, samples: Sequence[Instance], number: int, shared: dict[int, list[Encoded]]) -> None:
        first = samples[0]
        self._latency = plan.latency
        self._association = StoreAssociation.open(
            (plan.host, plan.ports[number % len(plan.ports)]),
            plan.calling_ae,
            plan.called_ae,
            [(first.sop_class, first.transfer_syntax)],
            longest_pdu=plan.longest_pdu,
            small_writes=plan.writes is Writes.PIECES,
            bandwidth=plan.bandwidth,
        )
        if not self._association.contexts:
            self._association.release()
            raise Refused("destination does not take this kind of instance")
        (context_id,) = self._association.contexts.values()
        limit = self._association.send_limit
        # What is written in pieces as dcmtk does must not be cut in further places.
        split = HEAD if plan.writes is Writes.WHOLE else sys.maxsize
        if limit not in shared:
            shared[limit] = [Encoded(sample, context_id, limit, split) for sample in samples]
        self._shots = [Shot(encoded, context_id) for encoded in shared[limit]]
        self._uids = uids_of(number, len(first.sop_uid))
        self._last: tuple[bytes, Shot] | None = None
        self.statuses = Counter[str]()
        self.bytes = 0

    def fire(self, instances: int, gate: threading.Barrier) -> None:
        self.statuses = Counter[str]()
        self.bytes = 0
        gate.wait()
        for turn in range(instances):
            if self._latency:
                time.sleep(self._latency)
            shot = self._shots[turn % len(self._shots)]
            uid = next(self._uids)
            message_id = turn % 0xFFFF + 1
            shot.number(uid, message_id)
            try:
                status = self._association.exchange(message_id, shot.command, shot.head, shot.tail)
            except ConnectionEnded:
                self.statuses[LOST] += instances - turn
                return
            self.statuses[f"{status:04X}"] += 1
            self.bytes += shot.size
            self._last = uid, shot

    def proof(self) -> Proof | None:
        """Of the last instance that was answered."""
        return None if self._last is None else self._last[1].proof(self._last[0])

    def close(self) -> None:
        self._association.release()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def samples_from(specs: Sequence[str]) -> list[Instance]:
    """Up to `SAMPLES` instances of one kind from archives as `python -m infra.simulator --archive` names them.

    Raises
    ------
    ValueError
        There are none.
    """
    every = [instance for study in archive_from(specs).studies() for instance in study]
    alike = [one for one in every if (one.sop_class, one.transfer_syntax, len(one.sop_uid)) == _kind(every[0])]
    room = max(1, HELD_BYTES // max(1, alike[0].content.size)) if alike else 0
    if not room:
        raise ValueError("the archive is empty")
    return alike[: min(SAMPLES, room)]


def _kind(instance: Instance) -> tuple[str, str, int]:
    return instance.sop_class, instance.transfer_syntax, len(instance.sop_uid)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.simulator.blaster", description="Sends as fast as it can.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, action="append", required=True, help="may be repeated: taken in turn")
    parser.add_argument("--called", default="LIMOSA", metavar="AE")
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--instances", type=int, default=1000, help="all associations together")
    parser.add_argument("--archive", default="workload:studies=1,instances=8", metavar="SPEC", help="what to send of")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="before each instance")
    parser.add_argument("--bandwidth", type=int, metavar="BYTES", help="per second and association")
    parser.add_argument("--writes", type=Writes, choices=list(Writes), default=Writes.WHOLE)
    parser.add_argument("--pdu", type=int, default=MAX_PDU, metavar="BYTES", help="longest that is sent")
    parser.add_argument("--told", action="store_true", help="open and fire when a line on standard input says so")
    given = parser.parse_args()
    plan = Plan(
        host=given.host,
        ports=tuple(given.port),
        called_ae=given.called,
        associations=given.associations,
        instances=given.instances,
        latency=given.latency,
        bandwidth=given.bandwidth,
        writes=given.writes,
        longest_pdu=given.pdu,
    )
    try:
        blaster = Blaster(plan, samples_from([given.archive]))
        return follow(blaster, sys.stdin) if given.told else follow(blaster, ("open", "fire"))
    except (Refused, ValueError) as problem:
        parser.error(str(problem))


def follow(blaster: Blaster, orders: Iterable[str]) -> int:
    """Each `open` was answered when the associations stood, each `fire` with its outcome; then they are released."""
    lost = 0
    for order in orders:
        if order.strip() == "open":
            blaster.open()
            _say({"ready": True})
            continue
        outcome = blaster.fire()
        lost += outcome.instances - outcome.statuses.get("0000", 0)
        _say(asdict(outcome) | {"seconds": outcome.seconds})
        blaster.close()
    return 1 if lost else 0


def _say(values: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
