"""What is known of a private element, and who says so.

Our own entries come first, then pydicom's dictionary, which is asked at run time. pydicom writes some keys with a block
number in them, as one file had it; the block means nothing and is taken out.
"""

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any

PYDICOM = "pydicom's dictionary"
_NAMELESS = frozenset(("", "Unknown", "Internal Value", "Private Data"))


class Role(StrEnum):
    """What is lost when the element is."""

    DOSE = "dose"
    SHUTTER = "shutter"
    DISPLAY = "display"
    LINK = "link"
    """Points to other objects."""
    RECONSTRUCTION = "reconstruction"
    ANNOTATION = "annotation"
    IDENTITY = "identity"
    """Earlier UIDs."""
    PIXELS = "pixels"
    """An image in the vendor's own compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a private element is, as far as anybody says."""

    vr: str = ""
    name: str = ""
    """Empty: nobody says."""
    source: str = ""
    role: Role | None = None
    inferred: bool = False
    """The role was told by the name alone."""

    @property
    def known(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class _Own:
    elements: dict[tuple[str, int, int], Meaning]
    creators: dict[str, tuple[Role, str]]
    patterns: tuple[tuple[Role, re.Pattern[str]], ...]
    vendors: tuple[tuple[str, str], ...]


def meaning_of(creator: str, group: int, low: int) -> Meaning:
    """What (group, low byte) of this creator is; an empty meaning where nobody says."""
    own = _own()
    if (found := own.elements.get((creator, group, low))) is not None:
        return found
    vr, name = _pydicom(creator).get((group, low), ("", ""))
    name = "" if name in _NAMELESS else name
    if (whole := own.creators.get(creator)) is not None:
        return Meaning(vr=vr, name=name or "part of a private annotation", source=whole[1], role=whole[0])
    role = next((role for role, pattern in own.patterns if name and pattern.search(name)), None)
    return Meaning(vr=vr, name=name, source=PYDICOM if name else "", role=role, inferred=role is not None)


def vendor_of(creator: str) -> str:
    """Who writes blocks of this creator; empty where nobody says."""
    return next((name for prefix, name in _own().vendors if creator.startswith(prefix)), "")


@lru_cache(maxsize=1)
def _own() -> _Own:
    told: dict[str, Any] = tomllib.loads(resources.files("imaging.private").joinpath("known.toml").read_text("utf-8"))
    elements = {
        (block["creator"], block["group"], one["low"]): Meaning(
            vr=one["vr"], name=one["meaning"], source=block["source"], role=Role(one["role"])
        )
        for block in told["block"]
        for one in block["elements"]
    }
    prefixes = [(prefix, vendor["name"]) for vendor in told["vendor"] for prefix in vendor["creators"]]
    return _Own(
        elements=elements,
        creators={one["name"]: (Role(one["role"]), one["source"]) for one in told["creator"]},
        patterns=tuple((Role(one["role"]), re.compile(one["matches"])) for one in told["pattern"]),
        # The longest prefix wins: SPI-P is Philips', SPI Siemens'.
        vendors=tuple(sorted(prefixes, key=lambda item: -len(item[0]))),
    )


@lru_cache(maxsize=512)
def _pydicom(creator: str) -> dict[tuple[int, int], tuple[str, str]]:
    from pydicom._private_dict import private_dictionaries

    entries: dict[str, tuple[str, str, str, str]] = private_dictionaries.get(creator, {})
    found: dict[tuple[int, int], tuple[str, str]] = {}
    # Keys with a block number in them come first, so that one without takes their place.
    for key, (vr, _, name, _) in sorted(entries.items(), key=lambda item: "x" in item[0]):
        # A few keys stand for a range of groups or elements; those say too little.
        if "x" not in key[:4] + key[6:]:
            found[int(key[:4], 16), int(key[6:], 16)] = (vr, name)
    return found
