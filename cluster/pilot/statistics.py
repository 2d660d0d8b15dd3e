"""What a pilot says about the whole archive: a rate weighted by kind of study, and how far chance may move it. Pure.

Studies of one day share scanners, technicians and interfaces, so they fail together: the variance is taken between days
as well as between studies, and the larger counts. The interval is Wilson's, with the number of studies that a plain
random sample would have needed for the same variance (as Korn and Graubard do it); it never claims certainty for zero
failures.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

Z95 = 1.959964
"""Standard normal deviate of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One study of the pilot."""

    kind: str
    day: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float
    of: int
    """Studies tried."""
    effective: float
    """Studies of a plain random sample that would say as much."""


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's interval of a share of `count` trials, which need not be whole; everything for none."""
    if count <= 0:
        return 0.0, 1.0
    square = Z95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = Z95 / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def expected_rate(tried: Sequence[Tried], archive: Mapping[str, int]) -> Rate:
    """The share of the archive's studies that will fail, by the pilot's.

    Each kind's share is weighted with its studies in the archive (`archive`). Kinds that the pilot did not try are
    given the share of all the others, and make the interval no narrower.
    """
    if not tried:
        return Rate(value=0.0, low=0.0, high=1.0, of=0, effective=0.0)
    by_kind: dict[str, list[Tried]] = defaultdict(list)
    for one in tried:
        by_kind[one.kind].append(one)
    known = sum(archive.get(kind, 0) for kind in by_kind) or len(tried)
    weights = {kind: (archive.get(kind, 0) or 0) / known for kind in by_kind}
    if not any(weights.values()):
        weights = {kind: len(each) / len(tried) for kind, each in by_kind.items()}
    share = sum(weights[kind] * _share(each) for kind, each in by_kind.items())
    effective = _effective(tried, by_kind, weights)
    low, high = wilson(share, effective)
    return Rate(value=share, low=low, high=high, of=len(tried), effective=effective)


def _effective(tried: Sequence[Tried], by_kind: Mapping[str, Sequence[Tried]], weights: Mapping[str, float]) -> float:
    """Never more than were tried. Shares are shrunk towards a half by two successes and two failures (Agresti and
    Coull), or no failure at all would look like certainty."""
    smooth = {kind: (sum(one.failed for one in each) + 2) / (len(each) + 4) for kind, each in by_kind.items()}
    overall = sum(weights[kind] * smooth[kind] for kind in by_kind)
    within = sum(weights[kind] ** 2 * smooth[kind] * (1 - smooth[kind]) / len(each) for kind, each in by_kind.items())
    # Between days, with the shares as they are.
    plain = sum(weights[kind] * _share(each) for kind, each in by_kind.items())
    totals: dict[str, float] = defaultdict(float)
    for one in tried:
        kind = by_kind[one.kind]
        totals[one.day] += weights[one.kind] / len(kind) * (one.failed - _share(kind))
    days = len(totals)
    between = days / (days - 1) * sum(total**2 for total in totals.values()) if days > 1 else 0.0
    count = overall * (1 - overall) / within if within else float(len(tried))
    if between and 0 < plain < 1:
        count = min(count, plain * (1 - plain) / between)
    return max(1.0, min(float(len(tried)), count))


def _share(tried: Sequence[Tried]) -> float:
    return sum(one.failed for one in tried) / len(tried)
