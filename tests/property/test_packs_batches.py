"""No batch of loose instances is larger than an import job takes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.uid import Uid
from storage.packs.batches import MAX_BATCHES, MAX_BYTES, MAX_FILES, Batches, batch_key, batch_named

FOLDER = "studies/00/11/1.2.3/r0001/"


def uid(number: int) -> Uid:
    return Uid(f"1.2.3.{number}")


@given(st.lists(st.integers(1, 100), max_size=60), st.data())
def test_batches_keep_their_limits_and_what_was_found_keeps_its_place(sizes: list[int], data: st.DataObject) -> None:
    first = Batches(files=7, size=150)
    placed = {uid(number): (first.place(uid(number), size), size) for number, size in enumerate(sizes)}
    survived = data.draw(st.lists(st.sampled_from(sorted(placed)), unique=True)) if placed else []

    again = Batches(files=7, size=150)
    for sop_uid in survived:
        again.found(sop_uid, *placed[sop_uid])
    batches = {sop_uid: again.place(sop_uid, size) for sop_uid, (_, size) in placed.items()}

    assert {sop_uid: batches[sop_uid] for sop_uid in survived} == {each: placed[each][0] for each in survived}
    files, held = Counter(batches.values()), Counter[int]()
    for sop_uid, (_, size) in placed.items():
        held[batches[sop_uid]] += size
    assert all(count <= 7 for count in files.values())
    assert all(size <= 150 for size in held.values())


def test_a_study_of_common_size_is_one_batch() -> None:
    batches = Batches()

    assert {batches.place(uid(number), 500_000) for number in range(MAX_FILES)} == {1}
    assert batches.place(uid(MAX_FILES), 1) == 2


def test_what_no_batch_holds_is_refused() -> None:
    batches = Batches()

    assert batches.place(uid(1), MAX_BYTES) == 1
    with pytest.raises(ValueError, match="bytes"):
        batches.place(uid(2), MAX_BYTES + 1)
    with pytest.raises(ValueError, match="batch"):
        batch_key(FOLDER, MAX_BATCHES + 1, uid(1))


def test_a_key_says_batch_and_instance_and_no_other_key_does() -> None:
    assert batch_named(FOLDER, batch_key(FOLDER, 12, uid(5))) == (12, uid(5))
    for name in ("b0012/1..2.dcm", "b12/1.2.dcm", "1.2.3/1.2.dcm", "b0012/1.2.dcm.txt", "b0012/sub/1.2.dcm"):
        assert batch_named(FOLDER, FOLDER + name) is None
