"""Disks that fill up, go, turn read-only or hang while `limosa seed load` writes them; commands that are killed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from chaos_devices import COMMAND_SECONDS, STUDIES, Bench, bench
from chaos_world import wait_for

from infra.simulator.disks import FileSystem, missing

pytestmark = [
    pytest.mark.devices,
    pytest.mark.skipif(bool(missing(FileSystem.EXT4)), reason=f"no disk: {missing(FileSystem.EXT4)}"),
]
LARGE = 6
"""Studies of 12 MB or so: three parts each."""
BEFORE = 4
"""Studies on the disk before it is struck."""


def fill(here: Bench) -> None:
    here.disks[0].fill(left=3 << 20)


def mend_full(here: Bench) -> None:
    (here.disks[0].mount / "ballast").unlink()


def mend_gone(here: Bench) -> None:
    here.disks[0].take_out()
    here.disks[0].put_in()


ACCIDENTS: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "full": (fill, mend_full),
    "pulled out": (lambda here: here.disks[0].pull_out(), mend_gone),
    "read-only": (lambda here: here.disks[0].make_read_only(), mend_gone),
}


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def lay(*sizes: int, **more: Any) -> Any:
        return bench(tmp_path / "bench", sizes, **more)

    yield lay


def seal(here: Bench, number: int) -> tuple[object, ...]:
    return "seed", "seal", here.job_file, f"SN-{number}", "--key", here.folder / "seal.key", "--quiet"


def seal_all(here: Bench) -> int:
    """Every disk is sealed and the script on it finds it whole; how many packs they hold."""
    packs = 0
    for number, root in enumerate(here.roots, start=1):
        packs += here.do(*seal(here, number))["packs"]
        script = subprocess.run(
            [sys.executable, "-I", root / "limosa" / "verify_seed.py", root],
            capture_output=True,
            text=True,
            check=False,
        )
        assert script.returncode == 0, script.stdout
    return packs


@pytest.mark.parametrize("accident", list(ACCIDENTS))
def test_an_accident_of_one_disk_leaves_the_others_filled_and_loses_nothing(
    table: Callable[..., Any], accident: str, score: list[str]
) -> None:
    strike, mend = ACCIDENTS[accident]
    with table(96, 256, latency=0.01) as here:
        loading = here.start("seed", "load", here.job_file, "--quiet", "--json")
        here.wait_for(loading, lambda: here.on(here.roots[0]) >= BEFORE, "studies on the first disk")
        strike(here)
        here.end(loading, rc=(0, 2))
        struck, beside = here.packs()
        mend(here)

        here.do("run", here.job_file, "--quiet")
        here.do("seed", "verify", here.job_file, "--quiet")
        packs = seal_all(here)
        findings = here.judge()

    score.append(f"devices: {accident} with {struck} of {STUDIES} studies on the disk; {beside} went to the other; "
                 f"after mending {packs} packs, {findings}")  # fmt: skip
    assert packs == STUDIES
    assert findings.none, (findings.lost, findings.duplicated, findings.wrong)


def test_a_disk_that_hangs_holds_up_its_own_studies_only(table: Callable[..., Any], score: list[str]) -> None:
    with table(96, 256, latency=0.01) as here:
        loading = here.start("seed", "load", here.job_file, "--quiet", "--json")
        here.wait_for(loading, lambda: here.on(here.roots[0]) >= BEFORE, "studies on the first disk")
        here.disks[0].hang()
        try:
            before = here.on(here.roots[0])
            here.wait_for(
                loading, lambda: here.on(here.roots[1]) >= STUDIES - before - 4, "the other disk takes the rest"
            )
            beside, stuck = here.on(here.roots[1]), here.on(here.roots[0])
            assert loading.poll() is None, "the run ended although studies are on their way"
        finally:
            here.disks[0].go_on()
        here.end(loading)

        here.do("run", here.job_file, "--quiet")
        packs = seal_all(here)
        findings = here.judge()

    score.append(f"devices: hanging with {stuck} studies on the disk; {beside} of {STUDIES} went to the other "
                 f"meanwhile; then {packs} packs, {findings}")  # fmt: skip
    assert stuck - before <= 1
    assert findings.none, (findings.lost, findings.duplicated, findings.wrong)


def test_a_disk_that_hangs_for_good_is_given_up_and_all_studies_are_written_meanwhile(
    table: Callable[..., Any], score: list[str]
) -> None:
    with table(96, 256, latency=0.01, more="hangs_after = 3\n") as here:
        loading = here.start("seed", "load", here.job_file, "--quiet", "--json")
        here.wait_for(loading, lambda: here.on(here.roots[0]) >= BEFORE, "studies on the first disk")
        here.disks[0].hang()
        try:
            here.wait_for(
                loading, lambda: here.ask("select 1 from exception where kind = 'DEVICE_HANGS'"), "the disk hangs"
            )
            hanging = {row["path_label"]: row["hangs"] for row in here.do("seed", "status", here.job_file, rc=(2,))}
            written = "select 1 from delivery where state in ('written', 'validated')"
            assert wait_for(lambda: len(here.ask(written)) == STUDIES, COMMAND_SECONDS), "a study waits for the disk"
            stuck, beside = (here.on(root) for root in here.roots)
        finally:
            here.disks[0].go_on()
        here.end(loading, rc=(0, 2))

        here.do("run", here.job_file, "--quiet", rc=(0, 2))
        packs = seal_all(here)
        findings = here.judge()

    score.append(f"devices: given up while hanging with {stuck} studies on the disk; {beside} of {STUDIES} went to the "
                 f"other meanwhile; then {packs} packs, {findings}")  # fmt: skip
    assert hanging == {"seed-1": True, "seed-2": False}
    assert stuck + beside == STUDIES == packs
    assert findings.none, (findings.lost, findings.duplicated, findings.wrong)


def test_load_and_seal_that_are_killed_are_called_again(table: Callable[..., Any], score: list[str]) -> None:
    kills = 0
    with table(96, 256, latency=0.01) as here:
        for studies in (3, 12):
            loading = here.start("seed", "load", here.job_file, "--quiet", "--json")
            # In the middle of a pack: some instance is in the journal, its study is not written.
            here.wait_for(
                loading,
                lambda studies=studies: (
                    sum(map(here.on, here.roots)) >= studies and here.ask("select 1 from upload_member limit 1")
                ),
                "a study half written",
            )
            here.kill(loading)
            kills += 1
        here.do("seed", "load", here.job_file, "--quiet")
        here.do("run", here.job_file, "--quiet")
        for number, name in ((1, "packs.jsonl"), (2, "instances.jsonl.zst")):
            root = here.roots[number - 1]
            sealing = here.start(*seal(here, number))
            here.wait_for(
                sealing, lambda root=root, name=name: (root / "limosa" / name).exists(), "the seal's first list"
            )
            here.kill(sealing)
            kills += 1
        packs = seal_all(here)
        again = [here.do(*seal(here, number)) for number in (1, 2)]
        findings = here.judge()

    score.append(f"devices: load and seal killed {kills} times; then {packs} packs, {findings}")
    assert packs == STUDIES == sum(each["packs"] for each in again)
    assert findings.none, (findings.lost, findings.duplicated, findings.wrong)


def test_an_ingest_of_an_encrypted_disk_that_is_killed_again_and_again_sends_no_part_twice(
    table: Callable[..., Any], own_s3: Any, score: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_ACCESS", own_s3.access_key)
    monkeypatch.setenv("FAR_SECRET", own_s3.secret_key)
    boto3.client(
        "s3", endpoint_url=own_s3.endpoint_url, aws_access_key_id=own_s3.access_key,
        aws_secret_access_key=own_s3.secret_key, region_name=own_s3.region,
    ).create_bucket(Bucket="far-side")  # fmt: skip
    store = ("--endpoint-url", own_s3.endpoint_url, "--access-key", "env:FAR_ACCESS", "--secret-key", "env:FAR_SECRET")
    kills: list[int] = []
    with table(256, archive=f"workload:studies={LARGE},instances=40,seed=5", encrypted=True) as here:
        here.do("run", here.job_file, "--quiet")
        sealed = here.do(*seal(here, 1))
        here.disks[0].take_out()
        here.disks[0].put_in(read_only=True)
        ingest = (
            "seed", "ingest", here.roots[0], "--seal", sealed["seal_file"], "--to", "s3://far-side/archive", *store,
            "--state", here.folder / "far", "--receipt", here.folder / "receipt.jsonl", "--connections", 2,
            "--part-size", 5 << 20, "--disk-key", f"file:{here.folder / 'disk.key'}", "--quiet", "--json",
        )  # fmt: skip
        journal = here.folder / "far" / "journal.jsonl"

        def sent() -> list[tuple[str, int]]:
            lines = journal.read_bytes().splitlines() if journal.exists() else []
            found = [json.loads(line) for line in lines if b'"sent"' in line]
            return [(line["sent"], line["number"]) for line in found]

        for parts in (1, 5, 9):
            running = here.start(*ingest)
            here.wait_for(running, lambda parts=parts: len(sent()) >= parts, "another part")
            here.kill(running)
            kills.append(len(sent()))
        told = here.do(*ingest)
        parts = sent()
        by_bucket = here.do("seed", "reconcile", here.job_file, "--bucket", "s3://far-side/archive", *store)
        by_receipt = here.do(
            "seed", "reconcile", here.job_file, "--receipt", here.folder / "receipt.jsonl",
            "--receipt-key", told["receipt_key"],
        )  # fmt: skip

    score.append(f"devices: ingest killed with {', '.join(map(str, kills))} parts sent; {len(parts)} parts, "
                 f"{len(parts) - len(set(parts))} of them twice; {by_bucket['arrived_percent']:g} % in the bucket, "
                 f"{by_receipt['proven']} studies proven by the receipt")  # fmt: skip
    assert len(parts) == len(set(parts)) > kills[-1]
    assert (by_bucket["arrived_percent"], by_receipt["arrived_percent"]) == (100.0, 100.0)
    assert (told["uploaded"], by_receipt["proven"]) == (LARGE, LARGE)


def test_three_disks_are_written_at_their_rates_side_by_side(table: Callable[..., Any], score: list[str]) -> None:
    rate = 2_000_000
    with table(96, 96, 96, more='write_rate = "2MB/s"\n') as here:
        loading = here.start("seed", "load", here.job_file, "--quiet", "--json")
        here.wait_for(loading, lambda: len(here.ask("select 1 from receipt")) >= STUDIES // 2, "half of the studies")
        midway = here.do("seed", "status", here.job_file)
        here.end(loading)
        rows = here.do("seed", "status", here.job_file)
        with here.postgres:
            spans = here.ask(
                "select device, sum(size)::bigint, extract(epoch from max(written_at) - min(written_at))::float8,"
                " (array_agg(size order by written_at))[1] from receipt join delivery using (delivery_id) group by 1"
            )

    rates = [(octets - first) / max(seconds, 0.001) for _, octets, seconds, first in spans]
    score.append("devices: three at 2 MB/s each: " + ", ".join(f"{each / 1e6:.2f} MB/s" for each in rates)
                 + f", together {sum(rates) / 1e6:.2f}; {[row['packs'] for row in rows]} packs")  # fmt: skip
    assert len(spans) == 3 and all(row["packs"] >= STUDIES // 6 for row in rows)
    assert all(each <= 1.15 * rate for each in rates)
    assert all(row["rate"] and row["fill"] and row["eta"] for row in midway)
