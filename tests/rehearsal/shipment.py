"""A whole shipment on this machine, as `make shipment`: two devices from an archive to a bucket, and every instance
accounted for, although a byte is lost before the seal and another device is tampered with after it.

Near side, far side and carrier are told apart: the far side runs while the near side's folder, ledger and all, is out
of reach. Everything is done with the command; this program only plays the people, and compares at the end.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import zstandard

from imaging.compare import compare
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator import Archive, Simulator, synthetic_archive, workload_archive
from infra.simulator.peers import OrthancPeer
from infra.simulator.process import free_port

LIMOSA = (sys.executable, "-m", "limosa")
DEADLINE = 600.0
BUCKET = "far-side"
SLICES = 120
"""Of the largest study: its pack is 37 MB, so that a kill meets an upload on its way."""

JOB = """
[job]
name = "shipment"
[source]
host = "127.0.0.1"
port = {port}
ae_title = "{ae}"
quiet = 0.5
quiet_limit = 5
associations = 4
[[receivers]]
ae_title = "LIMOSA"
host = "127.0.0.1"
port = {receiver}
[[destinations]]
kind = "seed"
name = "disks"
reserve = "64MiB"
devices = [{devices}]
"""


class Failed(Exception):
    """The rehearsal did not go as it has to."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)


class Rehearsal:
    """The people of a shipment."""

    def __init__(self, folder: Path) -> None:
        self.began = time.monotonic()
        self.near = folder / "near"
        self.far = folder / "far"
        self.disks = (folder / "disk-1", folder / "disk-2")
        for place in (self.near, self.far, *self.disks):
            place.mkdir()
        self.file = self.near / "move.toml"
        self.receiver = free_port()
        self.environment = dict(os.environ)

    def say(self, sentence: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self.began:6.1f} s  {sentence}\n")
        sys.stdout.flush()

    def limosa(self, *words: object, rc: int = 0, cwd: Path | None = None) -> Any:
        """What the command printed."""
        done = subprocess.run(
            [*LIMOSA, *map(str, words), "--json"],
            capture_output=True, text=True, timeout=DEADLINE, cwd=cwd, env=self.environment,
        )  # fmt: skip
        require(done.returncode == rc, f"{words}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout) if done.stdout else done.stderr

    def write_job(self, port: int, ae: str, *disks: Path) -> None:
        devices = ", ".join(f'"{disk}"' for disk in disks)
        self.file.write_text(JOB.format(port=port, ae=ae, receiver=self.receiver, devices=devices))

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """The near side is not there: neither job file nor ledger."""
        away = self.near.with_name("locked-away")
        self.near.rename(away)
        try:
            yield
        finally:
            away.rename(self.near)


def packs_of(disk: Path) -> list[Path]:
    return sorted(path for path in (disk / "data" / "studies").rglob("*") if path.is_file())


def damage(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        octet = file.read(1)
        file.seek(at)
        file.write(bytes([octet[0] ^ 1]))


def middle_of_an_instance(disk: Path, pack: Path) -> tuple[int, str]:
    """Where in the pack to lose a byte, and of which instance it is."""
    index = (
        disk
        / "data"
        / "index"
        / pack.relative_to(disk / "data" / "studies").with_name(pack.name.split(".tar")[0] + ".jsonl")
    )
    members = [json.loads(line) for line in index.read_text().splitlines()[1:-1]]
    member = max(members, key=lambda each: each["length"])
    return member["offset"] + member["length"] // 2, member["sop_uid"]


def instances_of(key: str, body: bytes) -> Iterator[tuple[str, bytes]]:
    plain: Any = io.BytesIO(body)
    if key.endswith(".zst"):
        plain = zstandard.ZstdDecompressor().stream_reader(plain, read_across_frames=True)
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if member.name.endswith(".dcm") and content is not None:
                yield member.name.rpartition("/")[2].removesuffix(".dcm"), content.read()


def facts_of(part10: bytes) -> Any:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return describe(octets, envelope.dataset_offset, envelope.transfer_syntax, bytes(32))


@contextmanager
def archive(folder: Path, receiver: int) -> Iterator[tuple[int, str, Mapping[str, bytes]]]:
    """Port, title and content of the archive: Orthanc where it is installed, else one of our own."""
    held = Archive(
        [
            *synthetic_archive(studies=14, instances=4).manifest().instances,
            *workload_archive(studies=1, instances=SLICES).manifest().instances,
        ]
    )
    known = {"LIMOSA": ("127.0.0.1", receiver)}
    files = held.export(folder / "files")
    if not OrthancPeer.installed():
        with Simulator(held, destinations=known) as simulator:
            loaded = {facts_of(part10).sop_uid: part10 for part10 in (path.read_bytes() for path in files)}
            yield simulator.port, "SIMPACS", loaded
        return
    with OrthancPeer(folder / "orthanc", destinations=known) as orthanc:
        taken = orthanc.load(files)
        yield (
            orthanc.port,
            orthanc.ae,
            {facts_of(part10).sop_uid: part10 for part10 in (path.read_bytes() for path in taken)},
        )


def load(it: Rehearsal, port: int, ae: str) -> None:
    one, two = it.disks
    it.write_job(port, ae, one)
    it.limosa("seed", "key", it.near / "seal.key", "--name", "hospital")
    it.limosa("seed", "init", it.file, one, "--serial", "SN-1001")
    it.limosa("run", it.file, "--phase", "move", "--limit", 8, "--quiet")
    # Another disk goes first, so that both are shipped; a full one would do the same and take longer.
    it.write_job(port, ae, two, one)
    it.limosa("seed", "init", it.file, two, "--serial", "SN-1002")
    it.limosa("seed", "load", it.file, "--quiet")
    rows = {row["serial"] or row["path_label"]: row for row in it.limosa("seed", "status", it.file)}
    told = ", ".join(f"{name}: {row['packs']} studies, {row['instances']} instances" for name, row in rows.items())
    it.say(f"two devices are loaded ({told})")
    require(all(row["packs"] for row in rows.values()), "a device is empty")


def lose_and_mend(it: Rehearsal) -> None:
    disk = it.disks[0]
    pack = packs_of(disk)[0]
    at, sop_uid = middle_of_an_instance(disk, pack)
    damage(pack, at)
    it.say(f"a byte of {pack.name} on SN-1001 is lost, in instance {sop_uid}")
    (found,) = it.limosa("seed", "verify", it.file, "--quiet", rc=3)["damaged"]
    require(found["key"] == str(pack.relative_to(disk)), "another pack was named")
    require(found["instances"] == [sop_uid], "another instance was named")
    it.say(f"verify names it: {found['serial']}, {Path(found['key']).name}, instance {found['instances'][0]}")
    refused = it.limosa("seed", "seal", it.file, "SN-1001", "--key", it.near / "seal.key", "--quiet", rc=2)
    require("need a person" in refused, "a damaged device was sealed")
    (problem,) = it.limosa("exceptions", "list", it.file)
    subprocess.run(
        [*LIMOSA, "exceptions", "resolve", str(it.file), str(problem["exception_id"]), "--as", "renew"],
        check=True, capture_output=True, timeout=DEADLINE, env=it.environment,
    )  # fmt: skip
    it.limosa("seed", "load", it.file, "--quiet")
    require(not it.limosa("seed", "verify", it.file, "--quiet")["damaged"], "it is still damaged")
    it.say("the study was fetched from the archive again, as its second revision; both devices read back whole")


def seal(it: Rehearsal) -> None:
    for serial in ("SN-1001", "SN-1002"):
        sealed = it.limosa(
            "seed", "seal", it.file, serial, "--key", it.near / "seal.key", "--out", it.far / "post", "--quiet"
        )
        it.limosa("seed", "ship", it.file, serial, "--carrier", "Courier Ltd", "--tracking", "1Z999")
        it.say(
            f"{serial} is sealed and shipped: {sealed['packs']} packs, {sealed['instances']} instances, "
            f"{sealed['withdrawn']} withdrawn, seal {sealed['read_out'][:19]}..."
        )


def check_without_limosa(it: Rehearsal) -> None:
    for disk, serial in zip(it.disks, ("SN-1001", "SN-1002"), strict=True):
        (note,) = (it.far / "post").glob(f"{serial}-*.seal.txt")
        done = subprocess.run(
            [sys.executable, "-I", disk / "limosa" / "verify_seed.py", disk, note],
            capture_output=True, text=True, check=False, timeout=DEADLINE, cwd=it.far,
        )  # fmt: skip
        require(done.returncode == 0, done.stdout + done.stderr)
        it.say(f"the script on {serial} says, without Limosa: {done.stdout.strip()}")


def ingest(it: Rehearsal, store: EmbeddedS3) -> None:
    it.environment |= {"FAR_ACCESS": store.access_key, "FAR_SECRET": store.secret_key}
    for name in ("PGHOST", "PGPASSFILE", "PGSERVICE"):
        it.environment.pop(name, None)
    it.limosa("seed", "key", it.far / "receiving.key", "--name", "cloud-team")
    tampered = it.far / "tampered"
    shutil.copytree(it.disks[0], tampered)
    pack = packs_of(tampered)[-1]
    at, sop_uid = middle_of_an_instance(tampered, pack)
    damage(pack, at)
    (found,) = it.limosa(*arrival(it, store, tampered, "SN-1001", "tampered"), rc=3, cwd=it.far)["damaged"]
    require((found["key"], found["instances"]) == (str(pack.relative_to(tampered)), [sop_uid]), "another was named")
    require(not objects(store), "something of it was uploaded")
    it.say(f"a tampered copy of SN-1001 is refused: {Path(found['key']).name}, instance {found['instances'][0]}")
    kill_once(it, store)
    for disk, serial in zip(it.disks, ("SN-1001", "SN-1002"), strict=True):
        told = it.limosa(*arrival(it, store, disk, serial, serial), cwd=it.far)
        it.say(f"{serial} is ingested: {told['uploaded']} packs, receipt signed by {told['receipt_fingerprint']}")


def arrival(it: Rehearsal, store: EmbeddedS3, disk: Path, serial: str, name: str) -> list[object]:
    (note,) = (it.far / "post").glob(f"{serial}-*.seal.txt")
    return [
        "seed", "ingest", disk, "--seal", note, "--to", f"s3://{BUCKET}/archive", "--endpoint-url", store.endpoint_url,
        "--access-key", "env:FAR_ACCESS", "--secret-key", "env:FAR_SECRET", "--sign", it.far / "receiving.key",
        "--state", it.far / f"state-{name}", "--receipt", it.far / f"{name}.receipt.jsonl", "--part-size", 5 << 20,
        "--connections", 2, "--quiet",
    ]  # fmt: skip


def kill_once(it: Rehearsal, store: EmbeddedS3) -> None:
    """The ingest of the larger device is killed with a part of its largest pack in the bucket."""
    words = arrival(it, store, it.disks[0], "SN-1001", "SN-1001")
    running = subprocess.Popen(
        [*LIMOSA, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=it.environment,
        cwd=it.far,
    )
    journal = it.far / "state-SN-1001" / "journal.jsonl"
    while running.poll() is None and not (journal.exists() and b'"sent"' in journal.read_bytes()):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    lines = journal.read_bytes().splitlines()
    parts, done = (sum(name in line for line in lines) for name in (b'"sent"', b'"done"'))
    require(running.returncode == -signal.SIGKILL, "the ingest ended before it could be killed")
    it.say(
        f"the ingest of SN-1001 was killed with {done} objects and {parts} parts of others sent, and is called again"
    )


def reconcile(it: Rehearsal) -> int:
    accounted = 0
    for serial in ("SN-1001", "SN-1002"):
        told = it.limosa(
            "seed", "reconcile", it.file, "--receipt", it.far / f"{serial}.receipt.jsonl",
            "--receipt-key", it.far / "receiving.key.pub",
        )  # fmt: skip
        require(told["arrived_percent"] == 100.0 and not told["strangers"], f"not all arrived: {told}")
        accounted += told["accounted"]
        it.say(f"{serial} is reconciled: {told['instances']}, {told['arrived_percent']:g} % arrived, proven")
    require(it.limosa("custody", "verify", it.file)["broken"] == 0, "a chain of custody is broken")
    states = {row["serial"]: row["state"] for row in it.limosa("seed", "status", it.file)}
    require(set(states.values()) == {"arrived"}, f"devices are {states}")
    studies = it.limosa("studies", "list", it.file, "--limit", 1000)
    require({row["status"] for row in studies} == {"done"}, "a study is not done")
    it.say(f"{len(studies)} studies are done, every chain of custody holds")
    return accounted


def objects(store: EmbeddedS3) -> dict[str, int]:
    listed = client(store).list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {each["Key"]: each["Size"] for each in listed}


def client(store: EmbeddedS3) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name=store.region,
    )


def compare_with_archive(it: Rehearsal, store: EmbeddedS3, loaded: Mapping[str, bytes]) -> None:
    """What is in the bucket is what was put into the archive: every instance once, every value and pixel."""
    reader = client(store)
    seen: set[str] = set()
    for key in objects(store):
        if not key.startswith("archive/studies/"):
            continue
        body = reader.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for sop_uid, part10 in instances_of(key, body):
            require(sop_uid in loaded and sop_uid not in seen, f"instance {sop_uid} is there twice or unknown")
            seen.add(sop_uid)
            require(facts_of(part10).pd1 == facts_of(loaded[sop_uid]).pd1, f"other pixels in {sop_uid}")
            require(compare(MemoryOctets(loaded[sop_uid]), MemoryOctets(part10)) == (), f"other values in {sop_uid}")
    require(seen == loaded.keys(), f"{len(loaded.keys() - seen)} instances are missing in the bucket")
    it.say(f"compared with the archive itself: {len(seen)} instances, 0 different, 0 absent, 0 too many")


@contextmanager
def far_store(folder: Path) -> Iterator[EmbeddedS3]:
    store = EmbeddedS3(folder)
    store.start()
    try:
        client(store).create_bucket(Bucket=BUCKET)
        yield store
    finally:
        store.remove()


def rehearse(folder: Path) -> None:
    it = Rehearsal(folder)
    source: AbstractContextManager[tuple[int, str, Mapping[str, bytes]]] = archive(folder / "archive", it.receiver)
    try:
        with source as (port, ae, loaded), far_store(folder / "store") as store:
            it.say(f"{ae} holds {len(loaded)} instances")
            load(it, port, ae)
            lose_and_mend(it)
            seal(it)
            with it.out_of_reach():
                check_without_limosa(it)
                ingest(it, store)
            accounted = reconcile(it)
            require(accounted == len(loaded), f"{accounted} of {len(loaded)} instances are accounted for")
            compare_with_archive(it, store, loaded)
    finally:
        EmbeddedPostgres(it.near / "move.limosa" / "services" / "postgres").remove()
    it.say(f"{accounted} of {len(loaded)} instances accounted for: 100 %")


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Not in the system's temporary folder: servers of what vanishes there are taken for abandoned, by any Limosa that
    # starts on this machine, and the near side is out of reach for a while.
    with tempfile.TemporaryDirectory(prefix="limosa-shipment-", dir="/var/tmp") as place:
        # Servers of root's tests run as another user, who has to get there.
        Path(place).chmod(0o755)
        rehearse(Path(place))
