"""Which presentation contexts an association for C-GET proposes: pure, within the 128 there may be (PS3.8 9.3.2.2).

An archive can only send an instance in a context of its class, and as it is stored only in one of its transfer syntax.
So a class that is known to be in the study gets a context for each transfer syntax of its own, which leaves the archive
nothing to choose; others, which a list may have left out, share two.
"""

from collections.abc import Iterable, Sequence

from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE, stores

MOST_CLASSES_ALONE = 4
"""Classes whose contexts are kept for the next study: each still has one for every syntax below."""
ROOM = 125
"""Contexts beside those that ask: for C-GET, for C-FIND, for C-ECHO."""

_NATIVE = (EXPLICIT_LE, IMPLICIT_LE)
_OTHERS = tuple(
    f"1.2.840.10008.1.2.{n}"
    for n in (
        *("4.70", "4.90", "4.91", "4.50", "4.51", "5", "4.80", "4.81", "4.57"),  # JPEG, JPEG 2000, RLE, JPEG-LS
        *("4.100", "4.101", "4.102", "4.103", "4.104", "4.105", "4.106", "4.107", "4.108"),  # MPEG-2, H.264, HEVC
        *("4.201", "4.202", "4.203", "4.110", "4.111", "4.112"),  # HTJ2K, JPEG XL
        *("1.99", "1.98", "2"),  # deflated, encapsulated uncompressed, big endian
    )
)
"""Besides the native ones, the common ones first (PS3.6 table A-1)."""

_COMMON = tuple(
    f"1.2.840.10008.5.1.4.1.1.{n}"
    for n in (
        *("2", "4", "1.1", "1", "7", "88.67", "88.22", "11.1", "6.1", "3.1", "12.1", "20", "128", "88.59", "104.1"),
        *("88.11", "88.33", "1.2", "1.2.1", "1.1.1", "13.1.3", "2.1", "4.1", "4.2", "130", "66.4", "66", "66.1"),
        *("12.2", "77.1.4", "77.1.4.1", "77.1.1", "77.1.2", "77.1.1.1", "77.1.6", "7.1", "7.2", "7.3", "7.4"),
        *("9.1.1", "9.1.2", "9.1.3", "9.2.1", "9.3.1", "481.1", "481.2", "481.3", "481.5", "104.2", "104.3"),
        *(
            "12.1.1",
            "12.2.1",
            "13.1.1",
            "6.2",
            "1.3",
            "1.3.1",
            "77.1.5.1",
            "77.1.5.4",
            "88.65",
            "88.40",
            "88.34",
            "11.2",
        ),
    )
)
"""Storage classes of images, reports and what belongs to them, the common ones first (PS3.4 annex B.5)."""


def offers(classes: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Abstract syntax and transfer syntaxes of each context: first those of `classes`, then common ones while there is
    room. What in `classes` is no storage class is left out."""
    known = sorted({each for each in classes if stores(each)})[:ROOM]
    found: list[tuple[str, tuple[str, ...]]] = []
    for each in known:
        found += [(each, group) for group in _groups(ROOM // len(known))]
    for each in _COMMON:
        if each not in known and len(found) + 2 <= ROOM:
            found += [(each, _NATIVE), (each, _OTHERS)]
    return tuple(found)


def _groups(most: int) -> Sequence[tuple[str, ...]]:
    """Every transfer syntax, in at most so many contexts; the common ones alone as far as it goes."""
    if most == 1:
        return ((*_NATIVE, *_OTHERS),)
    if most == 2:
        return (_NATIVE, _OTHERS)
    every = (*_NATIVE, *_OTHERS)
    alone = every[: most - 1] if most < len(every) else every
    rest = every[len(alone) :]
    return (*((each,) for each in alone), *((rest,) if rest else ()))
