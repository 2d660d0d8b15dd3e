"""How large the parts of a multipart upload are, so that 10,000 of them always do. Pure."""

from dataclasses import dataclass
from functools import cache

from storage.sinks.s3_profiles import LARGEST_PART, MAX_OBJECT

MIN_PART = 5 << 20
"""S3 refuses smaller parts, the last one excepted."""
MAX_PART = 1 << 30
"""S3 takes 5 GiB; a writer holds two parts in memory, so one is the limit of sense."""
MAX_PARTS = 10_000
"""S3's limit."""

_STEADY_PARTS = 4_000
"""Parts of the set size: 64 GB at 16 MiB, which nearly every study stays under."""
_DOUBLING = 550
"""Then the size doubles every so many parts; with the smallest part size it reaches S3's 5 GiB part before the end."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """The parts of any upload to one endpoint; sizes in bytes."""

    size: int
    """Of the first parts."""
    largest: int = LARGEST_PART
    """What the endpoint takes."""

    def target(self, number: int) -> int:
        """Bytes from which on part `number` (from 1) is full.

        The size of a study is not known when it starts, so parts grow late instead of being large from the
        start: 10,000 of them hold `MAX_OBJECT` even where each ends early (see `early_enough`).
        """
        if not 1 <= number <= MAX_PARTS:
            raise ValueError(f"part {number} is not in 1 to {MAX_PARTS}")
        steps = max(0, number - _STEADY_PARTS + _DOUBLING - 1) // _DOUBLING
        return min(self.size << steps, self.largest)

    def capacity(self, number: int) -> int:
        """Bytes of the buffer for a part: room for the instance that crosses the target."""
        target = self.target(number)
        return min(target + target // 4, self.largest)

    @property
    def most(self) -> int:
        """Bytes that an upload holds whatever its parts end with."""
        return _most(self.size, self.largest)


@cache
def _most(size: int, largest: int) -> int:
    plan = PartPlan(size=size, largest=largest)
    smallest = (max(MIN_PART, plan.target(number) * 3 // 4) for number in range(1, MAX_PARTS + 1))
    return min(MAX_OBJECT, sum(smallest))


def early_enough(filled: int, target: int) -> bool:
    """A part may end here because the next instance does not fit: three quarters full, and not too small for S3."""
    return filled >= max(MIN_PART, target * 3 // 4)


def steady_size(part_size: int, largest_pack: int) -> int:
    """The smallest part size from `part_size` on with which a pack of that size has no part that had to grow."""
    needed = -(-largest_pack * 4 // (3 * _STEADY_PARTS))
    return max(part_size, -(-needed // _MIB) * _MIB)
