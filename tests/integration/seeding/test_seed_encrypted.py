"""Disks whose packs are encrypted: the same journey, and nothing of an image is readable without the key."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.sinks.cipher import MAGIC
from storage.sinks.device import Device


@pytest.fixture
def locked(shipment: Any) -> Any:
    shipment.encrypt()
    shipment.load()
    return shipment


def packs_of(root: Path) -> list[Path]:
    return sorted(path for path in (root / "data/studies").rglob("*") if path.is_file())


def script(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", root / "limosa/verify_seed.py", root], capture_output=True, text=True, check=False
    )


def test_nothing_but_names_and_digests_is_readable_on_the_disk(locked: Any) -> None:
    locked.seal("SN-1")

    raw = {path: path.read_bytes() for path in locked.roots[0].rglob("*") if path.is_file()}

    assert len(packs_of(locked.roots[0])) == 2
    assert all(raw[path].startswith(MAGIC) for path in packs_of(locked.roots[0]))
    # What instances hold in these tests: their study's UID and a number, again and again.
    assert not any(b"1.2.1 1 1.2.1 1 " in content or b"1.2.2 1 1.2.2 1 " in content for content in raw.values())
    secret = (locked.folder / "disk.key").read_text().split()[1]
    assert not any(secret.encode() in content or bytes.fromhex(secret) in content for content in raw.values())


def test_what_is_sealed_encrypted_is_checked_by_the_script_and_by_any_bag_tool(locked: Any) -> None:
    sealed = locked.seal("SN-1")
    root = locked.roots[0]
    whole = script(root)
    summed = subprocess.run(["sha256sum", "-c", "manifest-sha256.txt"], cwd=root, capture_output=True, check=False)
    locked.flip("1.2.1", 700)

    hurt = script(root)

    assert whole.returncode == 0 and "2 packs, 0 damaged" in whole.stdout
    assert summed.returncode == 0
    assert hurt.returncode == 3 and "encrypted: which images are hurt cannot be said" in hurt.stdout
    assert sealed["disk_key"] == Device(root).key_id
    assert sealed["disk_key"] in Path(sealed["slip"]).read_text()


def test_damage_is_named_by_instance_by_whoever_has_the_key(locked: Any) -> None:
    locked.flip("1.2.1", 700)

    (damage,) = locked.do("verify", str(locked.file), rc=3)["damaged"]

    assert damage["study_uid"] == "1.2.1" and damage["instances"]


def test_a_disk_is_read_and_written_with_the_key_it_was_prepared_for_only(locked: Any) -> None:
    told = locked.file.read_text()
    other = locked.folder / "other.key"
    locked.do("disk-key", str(other))

    locked.file.write_text(told.replace("disk.key", "other.key"))
    with_another = locked.do("verify", str(locked.file), rc=1)
    locked.file.write_text("".join(line for line in told.splitlines(True) if "disk_key" not in line))
    with_none = locked.do("verify", str(locked.file), rc=1)
    init = locked.do("init", str(locked.file), str(locked.roots[0]), "--serial", "SN-1", rc=1)

    assert "was prepared for disk key" in with_another and "was prepared for disk key" in with_none
    assert "holds packs as SN-1 with disk key" in init


def test_a_key_on_the_disk_itself_is_refused(shipment: Any) -> None:
    key = shipment.encrypt()
    inside = shipment.roots[0] / "disk.key"
    key.rename(inside)
    shipment.file.write_text(shipment.file.read_text().replace(str(key), str(inside)))

    told = shipment.do("init", str(shipment.file), str(shipment.roots[1]), "--serial", "SN-2")
    inside.rename(shipment.roots[1] / "disk.key")
    shipment.file.write_text(shipment.file.read_text().replace(str(inside), str(shipment.roots[1] / "disk.key")))
    refused = shipment.do("init", str(shipment.file), str(shipment.roots[1]), "--serial", "SN-2", rc=1)

    assert told["serial"] == "SN-2"
    assert "lie on it" in refused or "lies on it" in refused
