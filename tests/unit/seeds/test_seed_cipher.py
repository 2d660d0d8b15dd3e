"""Packs that are encrypted where they lie: what comes back, what a resumed writer finds, what damage does."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import Rejected
from storage.sinks.cipher import (
    CHUNK,
    HEADER,
    MAGIC,
    STORED_CHUNK,
    CipherReader,
    CipherWriter,
    DiskKey,
    plain_size,
)

KEY = DiskKey(bytes(range(32)))
CONTENT = bytes(range(251)) * 1100
"""276,100 bytes: four chunks and a piece."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def written(file: int, content: bytes = CONTENT, step: int = 9_999) -> None:
    writer = CipherWriter.fresh(file, KEY)
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
    writer.sync()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, len(CONTENT)])
def test_what_was_written_is_read_and_its_size_is_told_by_the_files(file: int, size: int) -> None:
    written(file, CONTENT[:size])

    reader = CipherReader(file, KEY)

    assert bytes(reader.read(0, size + 100)) == CONTENT[:size]
    assert (reader.size, plain_size(os.fstat(file).st_size)) == (size, size)


def test_any_range_is_read(file: int) -> None:
    written(file)
    reader = CipherReader(file, KEY)

    for start in (0, 1, CHUNK - 1, CHUNK, 2 * CHUNK - 7, len(CONTENT) - 5):
        for length in (1, 100, CHUNK, 2 * CHUNK + 1):
            assert bytes(reader.read(start, length)) == CONTENT[start : start + length]


def test_nothing_of_the_pack_lies_in_the_file_and_equal_packs_differ(file: int, tmp_path: Path) -> None:
    written(file)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    written(other)

    raw, again = (os.pread(each, 1 << 20, 0) for each in (file, other))
    os.close(other)

    assert raw.startswith(MAGIC) and bytes.fromhex(KEY.id) in raw[:HEADER]
    assert KEY.secret not in raw and not any(CONTENT[at : at + 16] in raw for at in range(0, len(CONTENT), 4000))
    assert raw[HEADER:] != again[HEADER:]


@pytest.mark.parametrize("end", [0, 10, CHUNK - 1, CHUNK, CHUNK + 5, 3 * CHUNK])
def test_a_resumed_writer_goes_on_behind_the_last_commit(file: int, end: int) -> None:
    writer = CipherWriter.fresh(file, KEY)
    writer.write(CONTENT[:end])
    writer.sync()
    writer.write(os.urandom(2 * CHUNK + 77))
    writer.sync()

    resumed = CipherWriter.resumed(file, KEY, end)
    assert resumed is not None
    resumed.write(CONTENT[end:])
    resumed.sync()

    assert bytes(CipherReader(file, KEY).read(0, len(CONTENT) + 1)) == CONTENT


def test_a_resumed_writer_that_dies_at_once_leaves_what_was_committed(file: int) -> None:
    written(file, CONTENT[: CHUNK + 500])

    assert CipherWriter.resumed(file, KEY, CHUNK + 400) is not None
    again = CipherWriter.resumed(file, KEY, CHUNK + 400)
    assert again is not None
    again.sync()

    assert bytes(CipherReader(file, KEY).read(0, len(CONTENT))) == CONTENT[: CHUNK + 400]


@pytest.mark.parametrize("damage", ["short", "torn"])
def test_a_file_that_lost_committed_bytes_is_not_resumed(file: int, damage: str) -> None:
    written(file, CONTENT[: CHUNK + 500])
    if damage == "short":
        os.ftruncate(file, HEADER + STORED_CHUNK + 100)
    else:
        os.pwrite(file, b"\x00" * 16, HEADER + STORED_CHUNK + 40)

    assert CipherWriter.resumed(file, KEY, CHUNK + 500) is None


def test_no_nonce_is_met_twice_whatever_is_written_again(file: int) -> None:
    written(file)
    seen: set[bytes] = set()
    for end in (10, CHUNK + 10, CHUNK + 20, CHUNK + 30):
        writer = CipherWriter.resumed(file, KEY, end)
        assert writer is not None
        writer.write(CONTENT[end : end + 3 * CHUNK])
        writer.sync()
        raw = os.pread(file, 1 << 20, HEADER)
        fresh = {raw[at : at + 12] for at in range((end // CHUNK) * STORED_CHUNK, len(raw), STORED_CHUNK)}
        assert not fresh & seen
        seen |= fresh


def test_a_chunk_that_was_changed_moved_or_opened_with_another_key_reads_as_zeros(file: int) -> None:
    written(file)
    whole = os.pread(file, 1 << 20, 0)
    os.pwrite(file, bytes([whole[HEADER + 100] ^ 1]), HEADER + 100)
    os.pwrite(file, whole[HEADER + 3 * STORED_CHUNK :][:STORED_CHUNK], HEADER + 2 * STORED_CHUNK)

    read = bytes(CipherReader(file, KEY).read(0, len(CONTENT)))

    assert read[:CHUNK] == bytes(CHUNK) and read[2 * CHUNK : 3 * CHUNK] == bytes(CHUNK)
    assert read[CHUNK : 2 * CHUNK] == CONTENT[CHUNK : 2 * CHUNK] and read[3 * CHUNK :] == CONTENT[3 * CHUNK :]
    assert not any(CipherReader(file, DiskKey(bytes(32))).read(0, len(CONTENT)))


def test_a_key_is_kept_for_its_owner_and_never_replaced_nor_told(tmp_path: Path) -> None:
    path = tmp_path / "disk.key"
    made = DiskKey.generate()
    made.save(path)

    assert DiskKey.parse(path.read_text()) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.secret.hex() not in repr(made) and made.id not in made.secret.hex()
    with pytest.raises(Rejected, match="never replaced"):
        DiskKey.generate().save(path)
    with pytest.raises(Rejected) as caught:
        DiskKey.parse("limosa-disk-key-1 " + "g" * 64)
    assert "ggg" not in str(caught.value)
