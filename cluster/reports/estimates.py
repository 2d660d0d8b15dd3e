"""Estimates from samples, and how far they may be off. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from storage.ledger.baseline import Moments

Z95 = 1.959964
"""Standard normal deviate of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, and where it lies with 95 % confidence; `low` and `high` are None where nothing says how sure it is."""

    value: float
    low: float | None
    high: float | None
    basis: str
    """full, sampled, pulled (what was migrated so far, which nobody drew at random) or extrapolated."""
    of: int
    """Studies it is based on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Studies of equal modalities: how many there are, and how many instances they claim."""

    name: str
    studies: int
    instances: int


def estimate_bytes(
    kinds: Sequence[Kind], written: Mapping[str, Moments], sampled: Mapping[str, Moments]
) -> list[Estimate]:
    """The bytes of each kind: ratio of bytes to instances of its best basis, times its instances.

    A kind that was pulled whole is known. A sample is drawn at random, so it goes before what happened to be pulled;
    a kind with neither is given the ratio of all the others together.
    """
    overall = _joined([*sampled.values(), *written.values()])
    return [_of_kind(kind, written.get(kind.name), sampled.get(kind.name), overall) for kind in kinds]


def _of_kind(kind: Kind, written: Moments | None, sampled: Moments | None, overall: Moments) -> Estimate:
    if written is not None and written.studies >= kind.studies:
        return Estimate(value=written.y, low=written.y, high=written.y, basis="full", of=written.studies)
    if sampled is not None and sampled.x:
        return _ratio(kind, sampled, "sampled")
    if written is not None and written.x:
        return _ratio(kind, written, "pulled")
    return _ratio(kind, overall, "extrapolated")


def _ratio(kind: Kind, seen: Moments, basis: str) -> Estimate:
    """The ratio estimate of a total, its variance by linearisation with the finite population's correction."""
    if not seen.x:
        return Estimate(value=0.0, low=None, high=None, basis="none", of=0)
    ratio = seen.y / seen.x
    value = ratio * kind.instances
    n, total = seen.studies, max(kind.studies, seen.studies)
    if n < 2 or basis == "extrapolated":
        return Estimate(value=value, low=None, high=None, basis=basis, of=n)
    residual = max(0.0, seen.yy - 2 * ratio * seen.xy + ratio**2 * seen.xx) / (n - 1)
    error = total * sqrt((1 - n / total) * residual / n) * Z95
    return Estimate(value=value, low=max(0.0, value - error), high=value + error, basis=basis, of=n)


def total_of(estimates: Sequence[Estimate]) -> Estimate:
    """The sum; errors of kinds are independent, and a kind without one leaves the sum without."""
    value = sum(one.value for one in estimates)
    of = sum(one.of for one in estimates if one.basis != "extrapolated")
    bases = {one.basis for one in estimates if one.value or one.basis != "none"} or {"none"}
    order = ("extrapolated", "pulled", "sampled", "none", "full")
    basis = next(word for word in order if word in bases)
    if any(one.high is None for one in estimates if one.value):
        return Estimate(value=value, low=None, high=None, basis=basis, of=of)
    error = sqrt(sum((one.high - one.value) ** 2 for one in estimates if one.high is not None))
    return Estimate(value=value, low=max(0.0, value - error), high=value + error, basis=basis, of=of)


def moments_by(moments: Sequence[Moments], name: Mapping[tuple[str, ...] | None, str]) -> dict[str, Moments]:
    """The sums of all modalities that share a name."""
    found: dict[str, list[Moments]] = {}
    for one in moments:
        found.setdefault(name.get(one.modalities, ""), []).append(one)
    return {key: _joined(each) for key, each in found.items() if key}


def _joined(moments: Sequence[Moments]) -> Moments:
    return Moments(
        modalities=None,
        studies=sum(one.studies for one in moments),
        x=sum(one.x for one in moments),
        y=sum(one.y for one in moments),
        xx=sum(one.xx for one in moments),
        xy=sum(one.xy for one in moments),
        yy=sum(one.yy for one in moments),
    )
