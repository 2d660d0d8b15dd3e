"""What was delivered comes back byte for byte, or not at all."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.simulator import Instance, synthetic_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Iterator[Any]:
    """Every study is written to the S3 destination."""
    folder = tmp_path_factory.mktemp("fetch")
    with new_world(folder, synthetic_archive(studies=4, instances=3)) as made, made.kept():
        made.run("run", str(made.file), "--phase", "move")
        yield made


def largest(world: Any) -> tuple[str, tuple[Instance, ...]]:
    held = max(world.pacs.archive.studies(), key=len)
    return held[0].study_uid, held


def dataset_of(octets: bytes) -> bytes:
    return octets[split_part10(MemoryOctets(octets)).dataset_offset :]


@contextmanager
def storescp(folder: Path, wait_until: Callable[..., None], *arguments: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    command = ["storescp", "-aet", "VIEWER", "-od", str(folder), *arguments, str(port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        return subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True).returncode == 0

    try:
        wait_until(answers, what="storescp")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_a_study_comes_back_as_the_files_the_archive_sent(world: Any, tmp_path: Path) -> None:
    study, held = largest(world)

    told = json.loads(world.run("studies", "fetch", str(world.file), study, "--out", str(tmp_path), "--json"))

    files = {path.stem: path for path in tmp_path.rglob("*") if path.is_file()}
    assert {uid: dataset_of(path.read_bytes()) for uid, path in files.items()} == {
        instance.sop_uid: instance.dataset() for instance in held
    }
    assert (told["instances"], told["written"], told["revision"]) == (len(held), len(held), 1)


def test_fetched_again_the_files_stay_and_a_foreign_one_is_not_overwritten(world: Any, tmp_path: Path) -> None:
    study, held = largest(world)
    words = ("studies", "fetch", str(world.file), study, "--out", str(tmp_path), "--json")
    world.run(*words, "--instance", held[0].sop_uid)
    (file,) = (path for path in tmp_path.rglob("*.dcm"))

    again = json.loads(world.run(*words))
    file.write_bytes(b"mine")
    told = world.run(*words, rc=1)

    assert again["present"] == 1 and again["written"] == len(held) - 1
    assert "move it away" in told
    assert file.read_bytes() == b"mine"


def test_an_instance_the_study_does_not_have_is_named(world: Any, tmp_path: Path) -> None:
    study, _ = largest(world)

    told = world.run("studies", "fetch", str(world.file), study, "--out", str(tmp_path), "--instance", "1.2.3", rc=1)

    assert "1.2.3" in told and study in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.peer("dcmtk")
def test_a_pacs_gets_every_dataset_as_it_is_stored(world: Any, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    study, held = largest(world)

    with storescp(tmp_path / "in", wait_until, "+xa", "+B") as port:
        target = f"127.0.0.1:{port}:VIEWER"
        told = json.loads(world.run("studies", "fetch", str(world.file), study, "--to-pacs", target, "--json"))

    arrived = [dataset_of(path.read_bytes()) for path in (tmp_path / "in").iterdir()]
    assert sorted(arrived) == sorted(instance.dataset() for instance in held)
    assert {(row["end"], row["status"]) for row in told["answers"]} == {("stored", "0000")}


@pytest.mark.peer("dcmtk")
def test_what_a_pacs_does_not_take_is_listed_and_ends_with_2(
    world: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study, held = next(
        (held[0].study_uid, held)
        for held in world.pacs.archive.studies()
        if len({instance.transfer_syntax for instance in held}) > 1
    )

    with storescp(tmp_path / "in", wait_until, "+xi", "+B") as port:
        target = f"127.0.0.1:{port}:VIEWER"
        told = json.loads(world.run("studies", "fetch", str(world.file), study, "--to-pacs", target, "--json", rc=2))

    ends = {row["sop_uid"]: row["end"] for row in told["answers"]}
    assert ends == {
        instance.sop_uid: "stored" if instance.transfer_syntax == "1.2.840.10008.1.2" else "no_context"
        for instance in held
    }


def test_bytes_that_changed_at_the_destination_get_no_file(world: Any, tmp_path: Path) -> None:
    study, held = largest(world)
    (key,) = world.keys(study)
    world.flip(key, at=700)  # inside the first instance

    told = world.run("studies", "fetch", str(world.file), study, "--out", str(tmp_path), "--json", rc=3)

    assert study in told
    assert len(list(tmp_path.rglob("*.dcm"))) < len(held)
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
