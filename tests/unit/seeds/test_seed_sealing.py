"""A device that is sealed can be checked by anybody, and any byte that changes is found and named."""

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from storage.errors import Rejected, SinkFull
from storage.seeds.errors import SeedRefused
from storage.seeds.opening import check_instances_list, open_seed
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink


def flipped(path: Path, at: int) -> None:
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


def checked(root: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    """The script that lies on the device, by an interpreter that knows nothing of Limosa."""
    script = root / "limosa" / "verify_seed.py"
    return subprocess.run(
        [sys.executable, "-I", script, root, *more], capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )


def test_a_sealed_device_is_a_bag(loaded) -> None:
    loaded.seal()
    root = loaded.root

    lines = [line.split("  ") for line in (root / "manifest-sha256.txt").read_text().splitlines()]
    tags = [line.split("  ") for line in (root / "tagmanifest-sha256.txt").read_text().splitlines()]
    info = dict(line.split(": ") for line in (root / "bag-info.txt").read_text().splitlines())
    files = {path.relative_to(root).as_posix(): path for path in (root / "data").rglob("*") if path.is_file()}

    assert (root / "bagit.txt").read_text() == "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    assert {name for _, name in lines} == files.keys()
    assert [digest for digest, name in lines + tags] == [
        hashlib.sha256((root / name).read_bytes()).hexdigest() for _, name in lines + tags
    ]
    assert info["Payload-Oxum"] == f"{sum(path.stat().st_size for path in files.values())}.{len(files)}"


def test_the_far_side_opens_what_was_sealed(loaded, tmp_path: Path) -> None:
    seal, note = loaded.seal()

    opened = open_seed(loaded.root, note, loaded.key.verifier, tmp_path)

    assert (opened.seal, [row for row, _ in loaded.rows()]) == (seal, list(opened.rows()))
    assert (seal.packs, seal.instances) == (3, 7)
    check_instances_list(opened)


def test_the_script_on_the_device_finds_it_whole(loaded, tmp_path: Path) -> None:
    _, note = loaded.seal()
    (tmp_path / "seal.txt").write_text(note)

    done = checked(loaded.root, tmp_path / "seal.txt")

    assert (done.returncode, done.stdout) == (0, "3 packs, 0 damaged or missing\n"), done.stderr


@pytest.mark.parametrize("study", [1, 2])
def test_the_script_names_the_pack_and_the_instance_that_is_damaged(loaded, study: int) -> None:
    loaded.seal()
    receipt = next(held for pack, held in loaded.receipts.items() if pack.study_uid == f"1.2.840.{study}")
    member = loaded.examined(receipt).index.members[1]
    flipped(loaded.path(receipt), member.offset + member.length // 2)

    done = checked(loaded.root)

    assert done.returncode == 3
    assert f"{receipt.key}: not as it was sealed" in done.stdout
    assert f"instances/{member.facts.sop_uid}.dcm" in done.stdout


@pytest.mark.parametrize("study", [1, 2, 3])
def test_every_byte_of_a_pack_counts(loaded, study: int) -> None:
    receipt = next(held for pack, held in loaded.receipts.items() if pack.study_uid == f"1.2.840.{study}")
    path = loaded.path(receipt)
    whole = path.read_bytes()
    index = loaded.examined(receipt).index
    ends = [at for member in index.members for at in (member.offset, member.offset + member.length - 1)]
    table = 17 + 8 * (len(index.members) + 3) if receipt.key.endswith("zst") else 0

    for at in {*ends, *range(0, len(whole) - table, 997), len(whole) - table - 1, len(whole) - table - 1030}:
        flipped(path, at)
        assert not loaded.examined(receipt).sound, at
        path.write_bytes(whole)

    assert loaded.examined(receipt).sound


def test_damage_is_named_by_its_instance_even_where_the_own_index_is_gone(loaded) -> None:
    receipt = next(held for pack, held in loaded.receipts.items() if pack.study_uid == "1.2.840.1")
    index = loaded.examined(receipt).index
    path = loaded.path(receipt)
    path.write_bytes(path.read_bytes()[: index.members[2].offset + 100])

    found = loaded.examined(receipt)

    assert found.damaged == (index.members[2].facts.sop_uid,)
    assert found.fault == "own index cannot be read"


def test_what_is_sealed_takes_no_more(loaded) -> None:
    loaded.seal()

    with pytest.raises(SinkFull):
        loaded.write(4, [100])
    with pytest.raises(Rejected, match="sealed already"):
        loaded.seal()

    assert SeedSink(SeedOptions(name="seed", devices=(loaded.root,))).devices


def test_a_seal_that_was_interrupted_is_made_anew(loaded, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def rows():
        yield from loaded.rows()[:2]
        raise Killed

    with pytest.raises(Killed):
        loaded.seal(rows())
    assert not loaded.device.sealed

    _, note = loaded.seal()

    assert len(list(open_seed(loaded.root, note, None, tmp_path).rows())) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("limosa/packs.jsonl", "not the one that was sealed"),
        ("limosa/seal.txt", "not the one that travelled apart"),
        ("limosa/device.json", "label"),
    ],
)
def test_a_list_or_seal_that_changed_is_refused(loaded, tmp_path: Path, name: str, says: str) -> None:
    _, note = loaded.seal()
    flipped(loaded.root / name, 12)

    with pytest.raises((SeedRefused, Rejected), match=says):
        open_seed(loaded.root, note, None, tmp_path)


def test_a_seal_by_a_stranger_is_refused_where_the_key_is_known(loaded, tmp_path: Path) -> None:
    own = loaded.key.verifier
    loaded.key = type(loaded.key).generate("hospital")
    _, note = loaded.seal()

    with pytest.raises(SeedRefused):
        open_seed(loaded.root, note, own, tmp_path)


def test_packs_on_a_device_open_with_ordinary_tools(loaded) -> None:
    names = []
    for receipt in loaded.receipts.values():
        with loaded.path(receipt).open("rb") as file:
            plain = file
            if receipt.key.endswith(".zst"):
                plain = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                names += [member.name for member in tar]

    assert sum(name.endswith(".dcm") for name in names) == 7
