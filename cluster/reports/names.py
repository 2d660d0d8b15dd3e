"""What things are called on pages: kinds of studies, classes, transfer syntaxes, sizes. Pure."""

from collections.abc import Sequence

from pydicom.uid import UID

COMPANIONS = frozenset({"SR", "PR", "KO", "DOC", "SEG", "REG", "OT", "PLAN", "AU"})
"""Modalities that go with images of another: they do not make a study another kind."""

UNKNOWN = "not told"


def kind_name(modalities: Sequence[str] | None) -> str:
    """What a study is mainly of: CT for CT and SR, CT+PT for a hybrid, SR where there is nothing else."""
    told = sorted({one.strip() for one in modalities or () if one.strip()})
    images = [one for one in told if one not in COMPANIONS]
    return "+".join(images or told) or UNKNOWN


def syntax_name(uid: str) -> str:
    """The transfer syntax in words; its UID where it is none of the standard's."""
    return UID(uid).name.removesuffix(" (Process 1)").split(", First-Order")[0] if uid else UNKNOWN


def class_name(uid: str) -> str:
    """The SOP class in words; its UID where it is none of the standard's."""
    return UID(uid).name.removesuffix(" Storage") if uid else UNKNOWN


def told_bytes(count: float) -> str:
    """A size in decimal units, three digits."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count:.0f} B"


def told_binary(count: int) -> str:
    """A power of two in binary units."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            return f"{count >> shift} {unit}"
    return f"{count} B"


def told_count(count: int) -> str:
    """With thin spaces between thousands, as numbers are read everywhere."""
    return f"{count:,}".replace(",", "\u202f")


def told_many(count: int, one: str, several: str = "") -> str:
    """A number and what it is a number of."""
    return f"{told_count(count)} {one if count == 1 else several or one + 's'}"


def told_percent(share: float) -> str:
    """A share between 0 and 1 in percent, two digits where it is small."""
    percent = round(100 * share, 6)
    return f"{percent:.2g} %" if percent < 9.95 else f"{percent:.0f} %"


def told_days(days: float) -> str:
    """A length of time in the unit that a person would use."""
    if days >= 2:
        return f"{days:.0f} days"
    hours = 24 * days
    return f"{hours:.0f} hours" if hours >= 2 else f"{max(1, round(60 * hours))} min"


def told_share(count: int, of: int) -> str:
    """A share in percent, as many digits as it deserves."""
    if not of:
        return "-"
    share = 100 * count / of
    if not count:
        return "0 %"
    return "< 0.01 %" if share < 0.01 else f"{share:.2g} %" if share < 10 else f"{share:.0f} %"
