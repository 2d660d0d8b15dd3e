"""One study that no disk takes, from an archive over three real disks into a bucket, as `make volumes`. Root's work.

The run is killed in the middle of the second volume, one disk is sealed before the last volume is written, the disks
are brought in last first. Everything is done with the command.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from shipment import (
    BUCKET,
    DEADLINE,
    LIMOSA,
    Rehearsal,
    arrival,
    client,
    compare_with_archive,
    facts_of,
    far_store,
    require,
)

from infra.embedded.postgres import EmbeddedPostgres
from infra.simulator import Simulator, workload_archive
from infra.simulator.disks import Disk, FileSystem

DISK = 40 << 20
SLICES = 150
SERIALS = ("SN-1", "SN-2", "SN-3")


def packs_on(disks: list[Path]) -> dict[str, Path]:
    return {path.name.partition(".r0001")[2]: path for disk in disks for path in (disk / "data").rglob("*.tar")}


def killed_run(it: Rehearsal, disks: list[Path]) -> Path:
    """A run that was killed while the second volume was written; the first one."""
    running = subprocess.Popen(
        [*LIMOSA, "run", str(it.file), "--phase", "move", "--quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=it.environment, start_new_session=True,
    )  # fmt: skip
    began = time.monotonic()
    while not any(path.stat().st_size > 4 << 20 for name, path in packs_on(disks).items() if "v0002" in name):
        require(running.poll() is None, "the run ended before it could be killed")
        require(time.monotonic() - began < DEADLINE, "no second volume was begun")
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    return packs_on(disks)[".tar"]


def rehearse(folder: Path, disks: list[Path]) -> None:
    it = Rehearsal(folder)
    archive = workload_archive(studies=1, instances=SLICES)
    loaded = {facts_of(path.read_bytes()).sop_uid: path.read_bytes() for path in archive.export(folder / "files")}
    try:
        with (
            Simulator(archive, destinations={"LIMOSA": ("127.0.0.1", it.receiver)}) as pacs,
            far_store(folder / "store") as store,
        ):
            it.environment |= {"FAR_ACCESS": store.access_key, "FAR_SECRET": store.secret_key}
            it.write_job(pacs.port, "SIMPACS", *disks)
            it.file.write_text(it.file.read_text().replace('"64MiB"', '"1MiB"\ncompression = "none"'))
            for disk, serial in zip(disks, SERIALS, strict=True):
                it.limosa("seed", "init", it.file, disk, "--serial", serial)
            it.limosa("seed", "key", it.near / "seal.key", "--name", "hospital")
            it.limosa("seed", "key", it.far / "receiving.key", "--name", "cloud-team")
            size = sum(map(len, loaded.values()))
            it.say(f"a study of {len(loaded)} instances and {size / 1e6:.0f} MB, three ext4 disks of {DISK >> 20} MiB")

            first = killed_run(it, disks)
            before = first.stat()
            it.say(f"the run was killed with one volume done ({before.st_size} bytes) and half of another")
            it.limosa("run", it.file, "--phase", "move", "--quiet")
            after = first.stat()
            require((before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "it was written again")
            require(len(packs_on(disks)) == 3, f"volumes are {sorted(packs_on(disks))}")
            it.say("run again, it went on: the finished volume was not touched, three volumes on three disks")
            require(not it.limosa("seed", "verify", it.file, "--quiet")["damaged"], "something is damaged")
            it.limosa("validate", it.file, "--quiet")
            for serial in SERIALS:
                told = it.limosa(
                    "seed", "seal", it.file, serial, "--key", it.near / "seal.key", "--out", it.far / "post", "--quiet"
                )
                it.say(f"{serial} is sealed: {told['packs']} pack, {told['instances']} instances")
            order = [disks[at] for at in (2, 0, 1)]
            for disk in order:
                serial = SERIALS[disks.index(disk)]
                with it.out_of_reach():
                    told = it.limosa(*arrival(it, store, disk, serial, serial), cwd=it.far)
                (study,) = told["volumes"]
                missing = ", ".join(f"volume {each['volume']} on {each['device']}" for each in study["missing"])
                require(study["complete"] == (disk == order[-1]), f"complete: {study}")
                it.say(f"{serial} is ingested: {'complete' if study['complete'] else f'INCOMPLETE, missing {missing}'}")
            accounted = 0
            for serial in SERIALS:
                told = it.limosa(
                    "seed", "reconcile", it.file, "--receipt", it.far / f"{serial}.receipt.jsonl",
                    "--receipt-key", it.far / "receiving.key.pub",
                )  # fmt: skip
                require(told["arrived_percent"] == 100.0 and not told["strangers"], json.dumps(told))
                accounted += told["accounted"]
            (study,) = it.limosa("studies", "list", it.file)
            require((accounted, study["status"]) == (len(loaded), "done"), f"{accounted}, {study['status']}")
            require(it.limosa("custody", "verify", it.file)["broken"] == 0, "a chain of custody is broken")
            require(client(store).list_objects_v2(Bucket=BUCKET)["KeyCount"] == 6, "other objects are in the bucket")
            compare_with_archive(it, store, loaded)
    finally:
        EmbeddedPostgres(it.near / "move.limosa" / "services" / "postgres").remove()
    it.say(f"{accounted} of {len(loaded)} instances accounted for: 100 %, the study is done")


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="limosa-volumes-", dir="/var/tmp") as place, ExitStack() as stack:
        Path(place).chmod(0o755)
        mounts = [stack.enter_context(Disk(Path(place) / f"ext4-{n}", FileSystem.EXT4, DISK)).mount for n in (1, 2, 3)]
        rehearse(Path(place), mounts)
