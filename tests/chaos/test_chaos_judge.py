"""The judge of the chaos rounds finds what it is there to find."""

import io
import tarfile
from collections.abc import Callable

import pytest
from blake3 import blake3
from chaos_judge import Findings, Truth, judge_destination

STUDY = "1.2.3"
KEY = f"studies/aa/bb/{STUDY}.r0001.tar"
HEADER = b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0" + (4).to_bytes(4, "little") + b"meta"
DATASETS = {"1.2.3.1": b"one", "1.2.3.2": b"two"}
TRUTH = {
    uid: Truth(study_uid=STUDY, dataset=blake3(octets).digest(), raw1=blake3(octets).digest())
    for uid, octets in DATASETS.items()
}

Held = dict[str, bytes]


def pack(**changed: bytes | None) -> bytes:
    """A tar of the instances; `i1=...` gives the first one other bytes, None leaves it out."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for uid, octets in DATASETS.items():
            given = changed.get(f"i{uid[-1]}", octets)
            if given is not None:
                info = tarfile.TarInfo(f"instances/{uid}.dcm")
                info.size = len(HEADER + given)
                tar.addfile(info, io.BytesIO(HEADER + given))
    return stream.getvalue()


def judged(held: Held, digests: dict[str, tuple[bytes, bytes]] | None = None) -> tuple[int, int, int]:
    """How many findings are lost, duplicated, wrong; the receipt is of the honest pack."""
    found = Findings()
    true = {uid: (TRUTH[uid].raw1, blake3(HEADER + octets).digest()) for uid, octets in DATASETS.items()}
    honest = {KEY: len(pack())}
    judge_destination("here", iter(held.items()), TRUTH, true if digests is None else digests, honest, found)
    return len(found.lost), len(found.duplicated), len(found.wrong)


def test_an_honest_destination_is_found_without_fault() -> None:
    assert judged({KEY: pack(), "index/a": b""}) == (0, 0, 0)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: {KEY: pack(i2=None), "index/a": b""}, (1, 0, 0), id="an instance is missing"),
        pytest.param(lambda: {}, (2, 0, 1), id="the pack is missing, its receipt is not"),
        pytest.param(lambda: {KEY: pack(i1=b"ONE"), "index/a": b""}, (0, 0, 1), id="a byte is another"),
        pytest.param(lambda: {KEY: pack()}, (0, 0, 1), id="the index is missing"),
        pytest.param(
            lambda: {KEY: pack(), KEY.replace("/bb/", "/cc/"): pack(), "index/a": b"", "index/b": b""},
            (0, 3, 1),
            id="the study is there twice",
        ),
    ],
)
def test_every_fault_of_a_destination_is_counted(make: Callable[[], Held], expected: tuple[int, int, int]) -> None:
    assert judged(make()) == expected


def test_digests_in_the_ledger_that_are_not_true_are_counted() -> None:
    assert judged({KEY: pack(), "index/a": b""}, digests={}) == (0, 0, 2)
