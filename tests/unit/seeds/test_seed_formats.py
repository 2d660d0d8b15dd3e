"""Notes, roots, seals and profiles by themselves."""

import hashlib
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Rejected
from storage.packs.model import Container, PackId
from storage.packs.naming import index_key, pack_key
from storage.seeds.errors import BadSignature, SeedRefused
from storage.seeds.merkle import MerkleRoot
from storage.seeds.notes import SigningKey, VerifyingKey, open_note
from storage.seeds.profiles import PROFILES, Folder, LayoutCheck, ProfileName, root_name_problem
from storage.seeds.seal import Seal, key_of, open_seal
from storage.sinks.device import PAYLOAD

LONGEST = PackId(study_uid="1" * 64, revision=9999)  # type: ignore[arg-type]
SEAL = Seal(
    device="ab" * 16,
    serial="SN-1",
    job="job",
    destination="seed",
    profile=ProfileName.PLAIN,
    sealed=datetime(2026, 11, 24, tzinfo=UTC),
    packs=2,
    instances=9,
    pack_bytes=4096,
    root=bytes(32),
    packs_sha256=bytes(32),
    instances_sha256=bytes(32),
)


def tree_of(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_of(leaves[:split]) + tree_of(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    tree = MerkleRoot()

    for leaf in leaves:
        tree.add(leaf)

    assert (tree.root(), tree.size) == (tree_of(leaves), len(leaves))


def test_a_note_is_opened_by_its_key_and_no_other() -> None:
    key, other = SigningKey.generate("hospital"), SigningKey.generate("hospital")
    note = key.sign("first\nsecond\n")

    assert open_note(note, key.verifier) == "first\nsecond\n"
    assert VerifyingKey.parse(str(key.verifier)) == key.verifier
    with pytest.raises(BadSignature):
        open_note(note, other.verifier)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_byte_of_a_seal_can_be_changed(at: int, flip: int) -> None:
    key = SigningKey.generate("hospital")
    note = bytearray(SEAL.signed(key).encode())
    note[at % len(note)] ^= flip

    try:
        text = note.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(SeedRefused):
        if open_seal(text, key.verifier) == SEAL:
            # What stands behind the signature is no part of what was signed.
            assert text.rstrip("\n") != SEAL.signed(key).rstrip("\n")
            raise SeedRefused("changed outside the text")


def test_a_seal_comes_back_as_it_was_signed() -> None:
    key = SigningKey.generate("hospital")
    note = SEAL.signed(key)

    assert (open_seal(note, key.verifier), key_of(note)) == (SEAL, key.verifier)


@pytest.mark.parametrize(
    "changes", [{"device": "../../etc"}, {"serial": "a b"}, {"job": "a\nb"}, {"packs": -1}, {"job": ""}]
)
def test_a_signed_seal_with_impossible_values_is_refused_all_the_same(changes: dict[str, object]) -> None:
    key = SigningKey.generate("hospital")

    with pytest.raises(SeedRefused):
        open_seal(replace(SEAL, **changes).signed(key), key.verifier)


def test_a_key_lies_in_a_file_that_nobody_else_reads_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    key = SigningKey.generate("hospital")
    key.save(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).verifier == key.verifier
    with pytest.raises(Rejected):
        SigningKey.generate("hospital").save(path)
    path.chmod(0o640)
    with pytest.raises(Rejected, match="others can read it"):
        SigningKey.load(path)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name.value)
def test_no_name_that_a_pack_can_have_breaks_a_profile(profile) -> None:
    keys = [
        pack_key(LONGEST, Container.TAR_ZST, PAYLOAD),
        index_key(LONGEST, PAYLOAD),
        "limosa/instances.jsonl.zst",
        "tagmanifest-sha256.txt",
    ]
    check = LayoutCheck(profile)
    found = []

    for key in keys:
        folder, _, name = key.rpartition("/")
        found += check.folder(Folder(path=folder, files=((name, 1),), folders=()))

    assert [*found, *check.end()] == []


@pytest.mark.parametrize(
    ("folder", "what"),
    [
        (Folder(path="", files=(("a", 1), ("A", 1)), folders=()), "by case only"),
        (Folder(path="", files=(("a.", 1),), folders=()), "not every device"),
        (Folder(path="", files=(("con.txt", 1),), folders=()), "not every device"),
        (Folder(path="", files=(("ä", 1),), folders=()), "not every device"),
        (Folder(path="", files=(("a b", 1),), folders=()), "not every device"),
        (Folder(path="", files=(("new\nline", 1),), folders=()), "not every device"),
        (Folder(path="", files=(("x" * 129, 1),), folders=()), "longer than 128"),
        (Folder(path="/".join("abcdefgh"), files=(("x", 1),), folders=()), "deeper"),
        (Folder(path="y" * 500, files=(("x" * 20, 1),), folders=()), "path longer"),
        (Folder(path="", files=(("x", 5 << 40),), folders=()), "allowed"),
        (Folder(path="", files=(), folders=(), others=("link",)), "neither a file"),
        (Folder(path="", files=(("x", 1),), folders=(), shared=("x",)), "second name"),
        (Folder(path="", files=tuple((f"{n}", 1) for n in range(100_001)), folders=()), "entries"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_device_would_not_take_is_told_before_it_leaves(folder: Folder, what: str) -> None:
    found = list(LayoutCheck(PROFILES[ProfileName.SNOWBALL]).folder(folder))

    assert any(what in each.what for each in found)


def test_a_data_box_is_loaded_in_a_folder_that_can_be_a_container() -> None:
    databox, plain = PROFILES[ProfileName.DATABOX], PROFILES[ProfileName.PLAIN]

    assert root_name_problem(databox, "limosa-seed-1") == ""
    assert all(root_name_problem(databox, name) for name in ("ab", "Seed", "a--b", "a_b", "-ab", "x" * 64))
    assert root_name_problem(plain, "Seed 1") == ""
