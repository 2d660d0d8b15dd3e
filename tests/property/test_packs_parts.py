"""Whatever a study's size, its upload stays within S3's limits."""

from hypothesis import given
from hypothesis import strategies as st

from storage.sinks.s3_parts import MAX_PART, MAX_PARTS, MIN_PART, PartPlan, early_enough, steady_size
from storage.sinks.s3_profiles import ENDPOINTS, MAX_OBJECT, S3Profile

part_sizes = st.integers(MIN_PART, MAX_PART)


@given(part_sizes)
def test_the_largest_object_fits_even_where_every_part_ends_early(part_size: int) -> None:
    assert PartPlan(size=part_size).most == MAX_OBJECT


@given(part_sizes, st.integers(1, MAX_PARTS))
def test_every_part_is_one_that_s3_takes(part_size: int, number: int) -> None:
    plan = PartPlan(size=part_size)
    target = plan.target(number)

    assert MIN_PART <= target <= plan.capacity(number) <= 5 << 30
    assert not early_enough(MIN_PART - 1, target)


@given(part_sizes)
def test_parts_keep_their_size_for_as_long_as_nearly_every_study_lasts(part_size: int) -> None:
    assert {PartPlan(size=part_size).target(number) for number in range(1, 4001)} == {part_size}


@given(part_sizes, st.integers(1, 3000 * MAX_PART))
def test_the_largest_pack_that_was_declared_has_no_part_that_grew(part_size: int, largest_pack: int) -> None:
    plan = PartPlan(size=steady_size(part_size, largest_pack))
    smallest = plan.target(1) * 3 // 4

    assert part_size <= plan.size <= max(part_size, MAX_PART)
    assert plan.target(-(-largest_pack // smallest)) == plan.size


@given(st.integers(MIN_PART, 512_000_000), st.integers(1, MAX_PARTS))
def test_a_snowball_is_given_no_part_above_its_limit_and_no_study_that_does_not_fit(
    part_size: int, number: int
) -> None:
    plan = PartPlan(size=part_size, largest=ENDPOINTS[S3Profile.SNOWBALL].largest_part)

    assert plan.target(number) <= plan.capacity(number) <= 512_000_000
    assert plan.most <= MAX_PARTS * 512_000_000
