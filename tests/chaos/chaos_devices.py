"""An archive, three disks of their own file systems, and commands that are run, killed and run again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from blake3 import blake3
from chaos_judge import Findings, Truth, judge_destination
from chaos_world import MARK, end_all, free_port, wait_for

from imaging.uid import parse_uid
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import ServerError
from infra.simulator.archive import Archive
from infra.simulator.disks import Disk, FileSystem
from infra.simulator.process import SimulatorProcess
from infra.simulator.specs import archive_from
from storage.ledger.evidence import first_broken_link
from storage.ledger.ledger import Ledger

STUDIES, INSTANCES = 36, 12
"""Packs of about 4 MB: CT slices of half a megabyte, compressed."""
ARCHIVE = f"workload:studies={STUDIES},instances={INSTANCES},seed=5"
MIB = 1 << 20
COMMAND_SECONDS = 300.0
JOB = """\
[job]
name = "disks"
state_dir = "state"

[source]
host = "127.0.0.1"
port = {pacs_port}
ae_title = "SIMPACS"
associations = 4
quiet = 0.3
quiet_limit = 10

[[receivers]]
ae_title = "LIMOSA"
port = {receiver_port}
associations = 4

[[destinations]]
kind = "seed"
name = "disks"
devices = [{devices}]
reserve = "1MiB"
group_size = "1MiB"
{more}
[limits]
lease = 6
attempts = 20
retry_delay = 0.2
outage = 20
"""


@dataclass
class Bench:
    """The near side of a shipment, its disks on the table."""

    folder: Path
    disks: tuple[Disk, ...]
    archive: Archive
    control: Any
    marks: list[str] = field(default_factory=lambda: list[str]())

    @property
    def job_file(self) -> Path:
        return self.folder / "disks.toml"

    @property
    def roots(self) -> list[Path]:
        return [disk.mount / f"seed-{number}" for number, disk in enumerate(self.disks, start=1)]

    @property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.folder / "state" / "services" / "postgres")

    def start(self, *words: object) -> subprocess.Popen[str]:
        """The command runs, in a process group of its own."""
        mark = os.urandom(8).hex()
        self.marks.append(mark)
        return subprocess.Popen(
            [sys.executable, "-m", "limosa", *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.folder, env=os.environ | {MARK: mark}, start_new_session=True,
        )  # fmt: skip

    def do(self, *words: object, rc: tuple[int, ...] = (0,)) -> Any:
        """What the command printed as JSON."""
        return self.end(self.start(*words, "--json"), rc)

    def end(self, process: subprocess.Popen[str], rc: tuple[int, ...] = (0,)) -> Any:
        """The command has ended by itself; what it printed."""
        out, err = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode in rc, f"{process.args}: {process.returncode}\n{out[-3000:]}\n{err[-3000:]}"
        return json.loads(out) if out.strip() else err

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL, and with it all that the command had started but embedded servers."""
        process.kill()
        process.communicate()
        end_all(self.marks[-1])

    def ask(self, query: str) -> list[Any]:
        """The ledger's rows; none while there is no ledger to ask."""
        try:
            with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=2) as connection:
                return connection.execute(query.encode()).fetchall()
        except (ServerError, psycopg.OperationalError, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject):
            return []

    def on(self, root: Path) -> int:
        """Packs that the ledger has a receipt for on the device that was labelled there."""
        label = json.loads((root / "limosa" / "device.json").read_text())
        rows = self.ask(f"select count(*) from receipt where device = '{label['id']}'")
        return rows[0][0] if rows else 0

    def packs(self) -> list[int]:
        """What the ledger has of each device, in their order; the ledger is started for it."""
        rows = {row["path_label"]: row["packs"] for row in self.do("seed", "status", self.job_file, rc=(0, 2))}
        return [rows[root.name] for root in self.roots]

    def wait_for(self, running: subprocess.Popen[str], condition: Callable[[], object], what: str) -> None:
        """The condition holds, and the command still runs."""
        assert wait_for(lambda: running.poll() is not None or condition(), COMMAND_SECONDS), what
        if running.poll() is not None:
            raise AssertionError(f"ended before {what}: {self.end(running, (0, 1, 2, 3))}")

    def judge(self) -> Findings:
        """Every instance of the archive lies on exactly one disk, byte for byte, and all chains hold."""
        truth: dict[str, Truth] = {}
        for instance in self.archive.manifest():
            octets = instance.dataset()
            raw1 = blake3(octets + b"\0" + instance.transfer_syntax.encode("ascii")).digest()
            truth[instance.sop_uid] = Truth(study_uid=instance.study_uid, dataset=blake3(octets).digest(), raw1=raw1)
        found = Findings()
        with self.postgres:
            digests = {
                sop_uid: (bytes(raw1), bytes(sto1))
                for sop_uid, raw1, sto1 in self.ask("select sop_uid, raw1, sto1 from instance")
            }
            receipts = {key.removeprefix("data/"): size for key, size in self.ask("select key, size from receipt")}
            judge_destination("disks", self._files(), truth, digests, receipts, found)
            states = dict(self.ask("select state::text, count(*) from delivery group by state"))
            if states != {"sealed": STUDIES}:
                found.wrong.append(f"deliveries are {states}")
            with Ledger(self.postgres.url) as ledger:
                found.wrong += [
                    f"custody of {uid} breaks"
                    for uid in sorted({each.study_uid for each in truth.values()})
                    if first_broken_link(parse_uid(uid), ledger.custody.chain(parse_uid(uid))) is not None
                ]
        return found

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for root in self.roots:
            for folder in ("data/studies", "data/index"):
                for path in sorted((root / folder).rglob("*")):
                    if path.is_file():
                        yield path.relative_to(root / "data").as_posix(), path.read_bytes()


@contextmanager
def bench(
    folder: Path,
    sizes: tuple[int, ...],
    *,
    archive: str = ARCHIVE,
    more: str = "",
    encrypted: bool = False,
    latency: float = 0.0,
) -> Iterator[Bench]:
    """Disks of these sizes in MiB are in and prepared, the archive answers. Raises `NoDisk`."""
    receiver_port = free_port()
    with ExitStack() as stack:
        disks = tuple(
            stack.enter_context(Disk(folder / f"disk-{number}", FileSystem.EXT4, size * MIB))
            for number, size in enumerate(sizes, start=1)
        )
        pacs = stack.enter_context(SimulatorProcess((archive,), destinations={"LIMOSA": ("127.0.0.1", receiver_port)}))
        pacs.control.set_faults(store_latency=latency)
        made = Bench(folder, disks, archive_from((archive,)), pacs.control)
        if encrypted:
            made.do("seed", "disk-key", folder / "disk.key")
            more += f'disk_key = "file:{folder / "disk.key"}"\n'
        for root in made.roots:
            root.mkdir()
        devices = ", ".join(f'"{root}"' for root in made.roots)
        text = JOB.format(pacs_port=pacs.port, receiver_port=receiver_port, devices=devices, more=more)
        made.job_file.write_text(text, encoding="utf-8")
        try:
            made.do("seed", "key", made.folder / "seal.key")
            for number, root in enumerate(made.roots, start=1):
                made.do("seed", "init", made.job_file, root, "--serial", f"SN-{number}")
            yield made
        finally:
            for mark in made.marks:
                end_all(mark)
            made.postgres.remove()
