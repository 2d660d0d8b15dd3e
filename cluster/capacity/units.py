"""Sizes and rates as people write them: 42TB, 1.5 Gbit/s, 120MB/s, 60GB/day. Pure."""

import re

from cluster.capacity.opening import DAY

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgtp]?)(?P<binary>i?)b", re.IGNORECASE)
_BITS = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?:bit/s|bps)", re.IGNORECASE)


def parse_size(text: str) -> float:
    """Bytes of "42TB" or "1.5 TiB"; 0 is 0. Raises `ValueError`."""
    if text.strip() == "0":
        return 0.0
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write 42TB or 1.5TiB")
    return float(found["number"]) * (1024 if found["binary"] else 1000) ** _PREFIXES[found["prefix"].lower()]


def parse_rate(text: str) -> float:
    """Bytes a second of "1Gbit/s", "120MB/s" or "60GB/day"; 0 is 0. Raises `ValueError`."""
    if found := _BITS.fullmatch(text.strip()):
        return float(found["number"]) * 1000 ** _PREFIXES[found["prefix"].lower()] / 8
    amount, slash, per = text.strip().rpartition("/")
    seconds = {"s": 1.0, "day": DAY}.get(per.strip())
    if text.strip() == "0":
        return 0.0
    try:
        if not slash or seconds is None:
            raise ValueError
        return parse_size(amount) / seconds
    except ValueError:
        raise ValueError(f"{text!r} is no rate; write 1Gbit/s, 120MB/s or 60GB/day") from None


def told_bits(rate: float) -> str:
    """Bytes a second as links are sold."""
    bits = 8 * rate
    for unit, size in (("Tbit/s", 1e12), ("Gbit/s", 1e9), ("Mbit/s", 1e6)):
        if bits >= size:
            return f"{bits / size:.3g} {unit}"
    return f"{bits / 1e3:.3g} kbit/s"
