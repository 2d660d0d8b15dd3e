"""The far side: examines a whole device, then brings it into a bucket, then says what arrived. Knows no ledger.

seal, lists, tree -> every pack, every instance -> (all sound, or the damaged ones left out) -> upload -> receipt
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.seeding.carrying import Carrier
from cluster.seeding.gathering import Gathering
from cluster.seeding.ingest_journal import IngestJournal
from imaging.uid import parse_uid
from storage.durable import storage_error
from storage.errors import IntegrityError
from storage.packs.crc64 import crc64
from storage.seeds.examine import Examined
from storage.seeds.manifest import PackRow
from storage.seeds.notes import SigningKey
from storage.seeds.objects import examine_on
from storage.seeds.opening import OpenedSeed, check_instances_list, payload
from storage.seeds.receipt import PackState, ReceiptHead, ReceiptRow, write_receipt

QUEUED = 4
"""Packs handed to each upload thread ahead of time: enough that none waits, few enough to stop soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One pack that is not what was sealed."""

    key: str
    study_uid: str
    state: PackState
    what: str
    instances: tuple[str, ...]


class Ingest:
    """One device on its way into one bucket."""

    def __init__(self, opened: OpenedSeed, journal: IngestJournal, prefix: str) -> None:
        """`prefix` stands before the keys of the device's packs, without a slash at its end."""
        self._opened = opened
        self._journal = journal
        self._prefix = prefix
        self._clashes: dict[str, Finding] = {}
        """By key of the pack. Not in the journal: what is in the bucket may be another thing the next time."""

    @property
    def seal_sha256(self) -> str:
        return hashlib.sha256(self._opened.note.encode("utf-8")).hexdigest()

    def examine(self, report: Callable[[int], None]) -> Iterator[Finding]:
        """Every pack that an earlier call has not examined is examined; those that are not sound come out.

        Raises
        ------
        SeedRefused
            The list of instances is not the one that was sealed.
        """
        check_instances_list(self._opened)
        for row in self._opened.rows():
            if row.key not in self._journal.checked:
                state, what, instances = self._judge(row, report)
                self._journal.check(row.key, {"state": state.value, "what": what, "instances": list(instances)})
            else:
                report(row.size)
            finding = self._finding(row)
            if finding.state is not PackState.ARRIVED:
                yield finding

    def compare(self, gathering: Gathering) -> list[Finding]:
        """Volumes that contradict others of their study, here or in the bucket: they are not brought in."""
        sound = {row.key for row in self._opened.rows() if self._finding(row).state is PackState.ARRIVED}
        for clash in gathering.clashes(sound):
            self._clashes[clash.row.key] = Finding(
                key=clash.row.key,
                study_uid=clash.row.pack.study_uid,
                state=PackState.DAMAGED,
                what=clash.what,
                instances=clash.instances,
            )
        return list(self._clashes.values())

    def upload(self, carrier: Carrier, threads: int, report: Callable[[int], None]) -> int:
        """Every sound pack and the index beside it are in the bucket; how many packs. Raises what `carry` raises."""
        count = 0
        with ThreadPoolExecutor(threads) as pool:
            running: set[Future[int]] = set()
            try:
                for row in self._opened.rows():
                    if self._finding(row).state is not PackState.ARRIVED:
                        continue
                    running.add(pool.submit(self._carry, carrier, row))
                    count += 1
                    while len(running) >= threads * QUEUED:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for each in done:
                            report(each.result())
                for each in running:
                    report(each.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return count

    def receipt(self, path: Path, to: str, at: datetime, key: SigningKey) -> None:
        """The signed receipt is in the file."""
        seal = self._opened.seal
        head = ReceiptHead(device=seal.device, serial=seal.serial, seal=self.seal_sha256, to=to, at=at)
        with path.open("wb") as file:
            write_receipt(file, head, self._receipt_rows(), key)

    def _receipt_rows(self) -> Iterator[ReceiptRow]:
        for row in self._opened.rows():
            finding = self._finding(row)
            arrived = finding.state is PackState.ARRIVED
            yield ReceiptRow(
                pack=row.pack,
                container=row.container,
                size=row.size,
                crc64=row.crc64,
                sha256=row.sha256,
                state=finding.state,
                what=finding.what,
                to=self._target(row.key) if arrived else "",
                instances=tuple(parse_uid(uid) for uid in finding.instances),
            )

    def _judge(self, row: PackRow, report: Callable[[int], None]) -> tuple[PackState, str, tuple[str, ...]]:
        device = self._opened.device
        try:
            found = examine_on(device, row.pack, row.container, row.key, report)
        except FileNotFoundError:
            return PackState.MISSING, "is not there", ()
        except OSError as error:
            failure = storage_error(error, "read", device.place)
            return PackState.DAMAGED, f"cannot be read [{failure.code}]", ()
        what = found.fault or _differs(row, found)
        if found.sound and not what:
            return PackState.ARRIVED, "", ()
        return PackState.DAMAGED, what or "bytes of instances differ", found.damaged

    def _carry(self, carrier: Carrier, row: PackRow) -> int:
        carrier.carry(row.key, self._target(row.key), row.size, row.crc64)
        beside = b"".join(self._opened.device.stream(row.index_key, 0, row.index_size))
        if hashlib.sha256(beside).digest() != row.index_sha256:
            raise IntegrityError("an index changed after it was examined", operation="send", place=row.index_key)
        carrier.carry(row.index_key, self._target(row.index_key), row.index_size, crc64(beside))
        return row.size

    def _finding(self, row: PackRow) -> Finding:
        if row.key in self._clashes:
            return self._clashes[row.key]
        known = self._journal.checked[row.key]
        return Finding(
            key=row.key,
            study_uid=row.pack.study_uid,
            state=PackState(known["state"]),
            what=known["what"],
            instances=tuple(known["instances"]),
        )

    def _target(self, key: str) -> str:
        return f"{self._prefix}/{payload(key)}" if self._prefix else payload(key)


def _differs(row: PackRow, found: Examined) -> str:
    if (found.size, found.sha256, found.blake3, found.crc64) != (row.size, row.sha256, row.blake3, row.crc64):
        return "other bytes than were sealed"
    if (found.index_size, found.index_sha256) != (row.index_size, row.index_sha256):
        return "the index beside it is another one"
    if found.index is None or len(found.index.members) != row.instances:
        return "other instances"
    return "" if found.index.last == row.last else "says otherwise whether the study goes on in another volume"
