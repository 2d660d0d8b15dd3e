"""Packs are ordinary tars that can be read from their tail."""

import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.packs import format as pack_format
from storage.packs.crc64 import combine, crc64, from_header, to_header
from storage.packs.format import PackEncoder
from storage.packs.index import Index, InvalidIndex, parse_index, serialise_index
from storage.packs.model import Container, PackId
from storage.packs.naming import index_key, index_key_beside, instance_key, pack_key, pack_named
from storage.packs.reader import PackReader

PACK = PackId(study_uid=Uid("1.2.840.1"), revision=1)
EXPLICIT = Uid("1.2.840.10008.1.2.1")
JPEG = Uid("1.2.840.10008.1.2.4.70")
TARS = [Container.TAR, Container.TAR_ZST]


def facts_of(content: bytes, number: int, syntax: Uid = EXPLICIT) -> InstanceFacts:
    digest = blake3(content).digest()
    return InstanceFacts(
        study_uid=PACK.study_uid,
        series_uid=Uid("1.2.840.1.1"),
        sop_uid=Uid(f"1.2.840.1.1.{number}"),
        sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax=syntax,
        raw_size=max(0, len(content) - 132),
        sto_size=len(content),
        raw1=digest,
        sto1=digest,
        pd1=None if number % 2 else digest,
        can1=digest,
        flags=("PIXEL_LENGTH",) if number % 3 == 0 else (),
    )


def build(container: Container, contents: list[bytes], syntax: Uid = EXPLICIT) -> tuple[bytes, PackEncoder]:
    encoder = PackEncoder(PACK, container)
    out = bytearray()
    for number, content in enumerate(contents, 1):
        for piece in encoder.add(facts_of(content, number, syntax), MemoryOctets(content)):
            out += piece
    for piece in encoder.finish():
        out += piece
    return bytes(out), encoder


class OneObject:
    """An ObjectReader over one object in memory that counts what was asked of it."""

    def __init__(self, key: str, content: bytes) -> None:
        self.key, self.content = key, content
        self.requests: list[tuple[int, int]] = []

    def size(self, key: str, *, device: str = "") -> int:
        if key != self.key:
            raise FileNotFoundError(key)
        return len(self.content)

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        self.requests.append((start, length))
        stop = min(len(self.content), start + length)
        for at in range(start, stop, 1000):
            yield self.content[at : min(stop, at + 1000)]


def reader_of(container: Container, content: bytes) -> tuple[PackReader, OneObject]:
    key = pack_key(PACK, container)
    objects = OneObject(key, content)
    return PackReader(objects, PACK, container, key), objects


CONTENTS = [b"a" * 700, bytes(range(256)) * 5000, b"", b"x" * 512, b"DICM" * 70000]


@pytest.mark.parametrize("container", TARS)
def test_tar_and_zstd_of_the_system_read_a_pack(container: Container, tmp_path: Path) -> None:
    content, _ = build(container, CONTENTS)
    path = tmp_path / f"pack.{container.value}"
    path.write_bytes(content)
    command = ["tar", "xf", path] if container is Container.TAR else ["tar", "--zstd", "-xf", path]

    subprocess.run([*command, "-C", tmp_path], check=True, capture_output=True)

    got = [(tmp_path / "instances" / f"1.2.840.1.1.{number}.dcm").read_bytes() for number in range(1, 6)]
    assert got == CONTENTS
    assert (tmp_path / "index.jsonl").read_bytes().count(b"\n") >= len(CONTENTS) + 2


def test_zstd_of_the_system_finds_a_pack_whole_and_python_reads_the_stream(tmp_path: Path) -> None:
    content, _ = build(Container.TAR_ZST, CONTENTS)
    path = tmp_path / "pack.tar.zst"
    path.write_bytes(content)

    plain = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout

    (tmp_path / "pack.tar").write_bytes(plain)
    with tarfile.open(tmp_path / "pack.tar") as tar:
        assert len(tar.getnames()) == len(CONTENTS) + 1
        assert {(member.mtime, member.mode, member.uname) for member in tar} == {(0, 0o644, "")}


@pytest.mark.parametrize("container", TARS)
def test_tar_lists_and_compares_a_pack_and_zstd_finds_it_sound(container: Container, tmp_path: Path) -> None:
    content, _ = build(container, CONTENTS)
    path = tmp_path / f"pack.{container.value}"
    path.write_bytes(content)
    packed = [] if container is Container.TAR else ["--zstd"]
    names = [f"instances/1.2.840.1.1.{number}.dcm" for number in range(1, 6)]

    listed = subprocess.run(["tar", *packed, "-tf", path], check=True, capture_output=True, text=True)
    subprocess.run(["tar", *packed, "-xf", path, "-C", tmp_path], check=True)
    compared = subprocess.run(["tar", *packed, "-df", path, "-C", tmp_path], capture_output=True, text=True)
    (tmp_path / names[0]).write_bytes(b"b" * 700)
    differs = subprocess.run(["tar", *packed, "-df", path, "-C", tmp_path], capture_output=True, text=True)

    assert (listed.stdout.split(), listed.stderr) == ([*names, "index.jsonl"], "")
    # Owner and time are nobody's and 0 in a pack; what is compared is content.
    assert "Contents differ" not in compared.stdout + compared.stderr
    assert "Contents differ" in differs.stdout
    if packed:
        assert subprocess.run(["zstd", "-tq", path], capture_output=True).returncode == 0


@pytest.mark.parametrize("container", TARS)
def test_pythons_tarfile_reads_a_pack_as_file_and_as_stream(container: Container, tmp_path: Path) -> None:
    content, _ = build(container, CONTENTS)
    path = tmp_path / "pack"
    path.write_bytes(content)

    with path.open("rb") as file:
        plain = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with tarfile.open(fileobj=file if container is Container.TAR else plain, mode="r|") as tar:
            read = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]

    assert [octets for name, octets in read if name.endswith(".dcm")] == CONTENTS
    if container is Container.TAR:
        assert tarfile.is_tarfile(path)


@pytest.mark.parametrize("container", TARS)
def test_the_range_of_one_instance_alone_is_read_by_tar(container: Container, tmp_path: Path) -> None:
    content, encoder = build(container, CONTENTS)
    member = encoder.members[1]
    (tmp_path / "range").write_bytes(content[member.offset : member.offset + member.length])
    packed = [] if container is Container.TAR else ["--zstd"]

    subprocess.run(["tar", *packed, "-xf", tmp_path / "range", "-C", tmp_path], check=True, capture_output=True)

    assert (tmp_path / "instances" / "1.2.840.1.1.2.dcm").read_bytes() == CONTENTS[1]


@pytest.mark.parametrize("container", TARS)
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG])
def test_equal_instances_in_equal_order_give_equal_bytes_also_across_a_resume(
    container: Container, syntax: Uid
) -> None:
    whole, encoder = build(container, CONTENTS, syntax)
    members = encoder.members
    resumed = PackEncoder(PACK, container, members[:2])
    out = bytearray(whole[: members[1].offset + members[1].length])

    for number, content in enumerate(CONTENTS[2:], 3):
        for piece in resumed.add(facts_of(content, number, syntax), MemoryOctets(content)):
            out += piece
    for piece in resumed.finish():
        out += piece

    assert out == whole
    assert resumed.offset == len(whole)


@pytest.mark.parametrize("container", TARS)
def test_the_index_and_one_instance_cost_one_read_each(container: Container) -> None:
    content, encoder = build(container, [bytes(200_000) for _ in range(3)] + CONTENTS)
    reader, objects = reader_of(container, content)

    index = reader.index()
    got = b"".join(reader.open(index.members[4]))

    assert list(index.members) == list(encoder.members)
    assert got == CONTENTS[1]
    assert len(objects.requests) == 2
    assert objects.requests[1] == (index.members[4].offset, index.members[4].length)


@pytest.mark.parametrize("container", TARS)
def test_walking_a_pack_gives_every_instance_with_one_request(container: Container) -> None:
    content, _ = build(container, CONTENTS)
    reader, objects = reader_of(container, content)
    reader.index()

    got = [b"".join(pieces) for _, pieces in reader.walk()]

    assert got == CONTENTS
    assert len(objects.requests) == 2


def test_an_index_longer_than_the_first_read_is_found() -> None:
    contents = [b"%d" % number for number in range(400)]
    for container in TARS:
        content, encoder = build(container, contents)
        reader, _ = reader_of(container, content)

        assert list(reader.index().members) == list(encoder.members)


def test_a_pack_with_a_frame_too_long_for_a_seek_table_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_format, "_U32", 1000)
    content, encoder = build(Container.TAR_ZST, CONTENTS)
    reader, _ = reader_of(Container.TAR_ZST, content)

    assert list(reader.index().members) == list(encoder.members)
    assert content[-4:] != (0x8F92EAB1).to_bytes(4, "little")


@pytest.mark.parametrize("container", TARS)
def test_a_changed_byte_of_an_instance_is_an_integrity_error(container: Container) -> None:
    content, encoder = build(container, CONTENTS)
    member = encoder.members[1]
    broken = bytearray(content)
    broken[member.offset + member.length // 2] ^= 1
    reader, _ = reader_of(container, bytes(broken))
    index = reader.index()

    with pytest.raises(IntegrityError):
        b"".join(reader.open(index.members[1]))
    with pytest.raises(IntegrityError):
        list(reader.walk())


@pytest.mark.parametrize("container", TARS)
def test_a_pack_that_lost_its_end_is_no_pack(container: Container) -> None:
    content, _ = build(container, CONTENTS)

    for cut in (0, 1, 100, 600, len(content) // 2, len(content) - 1):
        reader, _ = reader_of(container, content[:cut])
        with pytest.raises(InvalidIndex):
            reader.index()


def test_a_pack_of_another_revision_is_refused() -> None:
    content, _ = build(Container.TAR, CONTENTS)
    other = PackId(study_uid=PACK.study_uid, revision=2)
    key = pack_key(other, Container.TAR)

    with pytest.raises(InvalidIndex):
        PackReader(OneObject(key, content), other, Container.TAR, key).index()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 527_384, (1 << 33) - 1, 1 << 33, 5 << 40])
@pytest.mark.parametrize("uid", ["1", "1.2.840.113619.2.55.3.2831868886.123", "2." + "9" * 62])
def test_a_header_is_what_tarfile_writes(size: int, uid: str) -> None:
    info = tarfile.TarInfo(f"instances/{uid}.dcm")
    info.size, info.mode, info.mtime = size, 0o644, 0

    assert pack_format.member_header(info.name, size) == info.tobuf(tarfile.PAX_FORMAT, "ascii", "strict")


def test_a_member_beyond_eight_gigabytes_has_a_pax_header() -> None:
    header = pack_format.member_header("instances/1.2.dcm", 9 << 30)

    assert len(header) == 3 * 512
    assert tarfile.TarInfo.frombuf(header[:512], "ascii", "strict").type == tarfile.XHDTYPE


def test_names_obey_every_seeding_device() -> None:
    pack = PackId(study_uid=Uid("2." + "1" * 62), revision=12)
    folder = pack_key(pack, Container.P10, "archive")
    keys = [
        pack_key(pack, Container.TAR_ZST, "archive"),
        instance_key(folder, Uid("3." + "1" * 62), Uid("4." + "1" * 62)),
        index_key(pack, "archive"),
    ]

    for key in keys:
        components = key.split("/")
        assert len(key) <= 512
        assert len(components) <= 8
        assert all(0 < len(component) <= 128 and component[-1] not in ". " for component in components)
        assert key == key.lower() and key.isascii()
    assert keys[0].endswith(".r0012.tar.zst")
    assert index_key_beside(pack, Container.TAR_ZST, keys[0]) == keys[2]
    assert index_key_beside(pack, Container.P10, folder) == keys[2]


@pytest.mark.parametrize("prefix", ["a/b", "../x", "A", "a b", ".a", "a.", "/a"])
def test_a_prefix_that_some_device_would_change_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError):
        pack_key(PACK, Container.TAR, prefix)


def test_an_index_reads_back_as_it_was_written() -> None:
    _, encoder = build(Container.TAR, CONTENTS)
    index = Index(pack=PACK, container=Container.TAR, members=tuple(encoder.members))

    assert parse_index(serialise_index(index), PACK) == index


def test_an_index_with_other_bytes_of_an_instance_does_not_hold_it() -> None:
    _, encoder = build(Container.TAR, CONTENTS)
    index = Index(pack=PACK, container=Container.TAR, members=tuple(encoder.members))
    first = index.members[0]
    changed = replace(first, facts=replace(first.facts, sto1=bytes(32)))

    assert index.holds(reversed(index.members))
    assert not index.holds([changed, *index.members[1:]])
    assert not index.holds(index.members[1:])


def test_crc64_is_the_one_s3_and_azure_use() -> None:
    assert crc64(b"123456789") == 0xAE8B14860A799888
    assert combine(crc64(b"1234"), crc64(b"56789"), 5) == crc64(b"123456789")
    assert from_header(to_header(5)) == 5
    assert from_header("AAAA-2") is None


@pytest.mark.parametrize("container", TARS)
@pytest.mark.parametrize("volume", [1, 2, 9999])
def test_the_name_of_a_volume_says_which_one_it_is(container: Container, volume: int) -> None:
    pack = replace(PACK, volume=volume)
    key = pack_key(pack, container, "data")

    assert pack_named(key) == (pack, container)
    assert key.endswith(f".r0001{'' if volume == 1 else f'.v{volume:04d}'}.{container.value}")
    assert index_key_beside(pack, container, key) == index_key(pack, "data")


@pytest.mark.parametrize("name", ["r0001.v0001", "r0001.v0000", "r0001.v2", "r0001.v0002.v0003", "v0002"])
def test_a_name_that_no_volume_has_is_no_pack(name: str) -> None:
    assert pack_named(pack_key(PACK, Container.TAR).replace("r0001", name)) is None
    assert pack_named(f"{pack_key(PACK, Container.P10)[:-1].replace('r0001', name)}/1.2/1.2.3.dcm") is None


def test_an_index_says_which_volume_it_is_of_and_an_older_one_is_of_a_whole_study() -> None:
    members = tuple(build(Container.TAR, [b"x" * 200])[1].members)
    whole = Index(pack=PACK, container=Container.TAR, members=members)
    volumes = [replace(whole, last=False), replace(whole, pack=replace(PACK, volume=2))]

    assert b"volume" not in serialise_index(whole) and parse_index(serialise_index(whole), PACK).whole
    for index in volumes:
        assert parse_index(serialise_index(index), index.pack) == index
        assert not index.whole
    with pytest.raises(InvalidIndex):
        parse_index(serialise_index(volumes[1]), PACK)
    for field in (b'"volume":0', b'"volume":"2"', b'"volume":10000', b'"volume":true'):
        with pytest.raises(InvalidIndex):
            parse_index(serialise_index(volumes[1]).replace(b'"volume":2', field))
