"""Whatever a study's size, its upload stays within S3's limits."""

from hypothesis import given
from hypothesis import strategies as st

from storage.sinks.options import MAX_PART, MIN_PART
from storage.sinks.s3_upload import MAX_OBJECT, MAX_PARTS, capacity, early_enough, part_target

part_sizes = st.integers(MIN_PART, MAX_PART)


@given(part_sizes)
def test_the_largest_object_fits_even_where_every_part_ends_early(part_size: int) -> None:
    smallest = sum(max(MIN_PART, part_target(number, part_size) * 3 // 4) for number in range(1, MAX_PARTS + 1))

    assert smallest >= MAX_OBJECT


@given(part_sizes, st.integers(1, MAX_PARTS))
def test_every_part_is_one_that_s3_takes(part_size: int, number: int) -> None:
    target = part_target(number, part_size)

    assert MIN_PART <= target <= capacity(target) <= 5 << 30
    assert not early_enough(MIN_PART - 1, target)


@given(part_sizes)
def test_parts_keep_their_size_for_as_long_as_nearly_every_study_lasts(part_size: int) -> None:
    assert {part_target(number, part_size) for number in range(1, 4001)} == {part_size}
