"""The audit as one document, from which page and JSON are made. No value of any patient is in it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.audit.roundtrip import RoundTrip
from cluster.audit.tally import Device, ElementTally, Tally, Triple, meaning
from imaging.compare import Change
from imaging.private.dictionary import Role, vendor_of
from storage.ledger.audits import ChosenStudy, Fate, PrivateDecision

FORMAT = "limosa-audit"
VERSION = 1
MOST_DEVICES = 8
"""Devices named beside a block; all are in the table of the sample."""

MATTERS = {
    Role.DOSE: "dose that only private elements hold is gone for whoever cannot read them",
    Role.SHUTTER: "images show the collimated edges that their makers hid",
    Role.DISPLAY: "images look otherwise than they were left",
    Role.LINK: "objects that belong together are no longer found together",
    Role.RECONSTRUCTION: "nobody can tell any more how an image was made",
    Role.ANNOTATION: "marks on images are gone; some correct a laterality",
    Role.IDENTITY: "the UIDs that reports of earlier archives refer to are gone",
    Role.PIXELS: "the image itself is in the vendor's own compression",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """Everything an audit found."""

    job: str
    at: datetime
    seed: str
    destination: str
    read_from: str
    """written: from packs. source: nothing was moved for it."""
    keeps_bytes: bool
    """The destination stores files as they are, so nothing can be dropped there."""
    chosen: Sequence[ChosenStudy]
    tally: Tally
    round_trip: RoundTrip | None
    decisions: Sequence[PrivateDecision]


def document_of(found: Audited) -> dict[str, Any]:
    """The document; `open` counts the elements that still need a person's word."""
    blocks = [_block(key, elements, found) for key, elements in _by_block(found.tally.elements).items()]
    blocks.sort(key=lambda block: (-block["open"], -block["instances"], block["creator"], block["group"]))
    tally = found.tally
    return {
        "format": FORMAT,
        "version": VERSION,
        "job": found.job,
        "at": found.at.isoformat(),
        "destination": found.destination,
        "read_from": found.read_from,
        "keeps_bytes": found.keeps_bytes,
        "seed": found.seed,
        "open": sum(block["open"] for block in blocks),
        "sample": {
            "studies": len(tally.studies),
            "instances": tally.instances,
            "unreadable": tally.unreadable,
            "strata": _strata(found.chosen, tally),
            "devices": [
                _device(device) | {"instances": count} for device, count in sorted(tally.devices.items(), key=_by_name)
            ],
        },
        "blocks": blocks,
        "findings": _findings(tally, found.round_trip),
        "dose": {
            "objects": dict(sorted(tally.dose_kinds.items())),
            "places": [{"where": where, "instances": count} for where, count in tally.dose_places.most_common()],
        },
        "round_trip": None if found.round_trip is None else _round_trip(found.round_trip),
    }


def _strata(chosen: Sequence[ChosenStudy], tally: Tally) -> list[dict[str, Any]]:
    found: dict[tuple[tuple[str, ...], int | None], dict[str, Any]] = {}
    for one in chosen:
        row = found.setdefault(
            (one.modalities, one.year),
            {"modalities": list(one.modalities), "year": one.year, "studies": 0, "of": one.of},
        )
        row["studies"] += one.study_uid in tally.studies
    return list(found.values())


def _by_name(item: tuple[Device, int]) -> tuple[str, str, str, int]:
    (modality, maker, model, year), _ = item
    return modality, maker, model, year or 0


def _device(device: Device) -> dict[str, Any]:
    modality, manufacturer, model, year = device
    return {"modality": modality, "manufacturer": manufacturer, "model": model, "year": year}


def _by_block(elements: Mapping[Triple, ElementTally]) -> dict[tuple[str, int], dict[int, ElementTally]]:
    found: dict[tuple[str, int], dict[int, ElementTally]] = {}
    for (creator, group, low), tally in sorted(elements.items()):
        found.setdefault((creator, group), {})[low] = tally
    return found


def _block(key: tuple[str, int], elements: Mapping[int, ElementTally], found: Audited) -> dict[str, Any]:
    creator, group = key
    rows = [_element((creator, group, low), tally, found) for low, tally in elements.items()]
    devices = sorted({device[:3] for tally in elements.values() for device in tally.devices})
    return {
        "creator": creator,
        "group": f"{group:04X}",
        "vendor": vendor_of(creator),
        "instances": max(row["instances"] for row in rows),
        "studies": len(set[Any]().union(*(tally.studies for tally in elements.values()))),
        "devices": [{"modality": one[0], "manufacturer": one[1], "model": one[2]} for one in devices[:MOST_DEVICES]],
        "device_count": len(devices),
        "known": sum(bool(row["meaning"]) for row in rows),
        "unknown": sum(not row["meaning"] for row in rows),
        "roles": sorted({row["role"] for row in rows if row["role"]}),
        "suspect": sum(bool(row["suspect"]) for row in rows),
        "open": sum(row["open"] for row in rows),
        "elements": rows,
    }


def _element(triple: Triple, tally: ElementTally, found: Audited) -> dict[str, Any]:
    what = meaning(triple)
    fate = _seen_fate(triple, tally, found)
    decision = _decision(triple, found.decisions)
    undecided = decision is None and (not what.known or fate in ("dropped", "changed"))
    return {
        "low": f"{triple[2]:02X}",
        "vrs": sorted(tally.vrs),
        "meaning": what.name,
        "source": what.source,
        "role": what.role.value if what.role else None,
        "inferred": what.inferred,
        "instances": tally.instances,
        "largest": tally.largest,
        "nested": bool(tally.nested),
        "example": tally.example,
        "suspect": tally.suspect,
        "fate": fate,
        "decision": decision.decision.value if decision else Fate.KEEP.value if not undecided else None,
        "decided_by": decision.decided_by if decision else None,
        "decided_at": decision.at.isoformat() if decision else None,
        "note": decision.note if decision else None,
        "open": undecided,
    }


def _seen_fate(triple: Triple, tally: ElementTally, found: Audited) -> str:
    """kept, dropped, changed or not_seen, by what came back; `kept` where the destination stores bytes."""
    if found.round_trip is None:
        return "kept" if found.keeps_bytes else "not_seen"
    if not found.round_trip.instances:
        return "not_seen"
    del tally
    changes = found.round_trip.of_private(*triple)
    if Change.REMOVED in changes:
        return "dropped"
    return "changed" if changes else "kept"


def _decision(triple: Triple, decisions: Sequence[PrivateDecision]) -> PrivateDecision | None:
    """That of the element, else that of its block."""
    creator, group, low = triple
    of_block = [one for one in decisions if (one.creator, one.element_group) == (creator, group)]
    own = next((one for one in of_block if one.low == low), None)
    return own or next((one for one in of_block if one.low is None), None)


def _findings(tally: Tally, trip: RoundTrip | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for role in Role:
        triples = [triple for triple in tally.elements if meaning(triple).role is role]
        lost = [triple for triple in triples if trip is not None and Change.REMOVED in trip.of_private(*triple)]
        found.append(
            {
                "role": role.value,
                "elements": len(triples),
                "inferred": sum(meaning(triple).inferred for triple in triples),
                "instances": max((tally.elements[triple].instances for triple in triples), default=0),
                "studies": len(set[Any]().union(*(tally.elements[triple].studies for triple in triples))),
                "creators": sorted({triple[0] for triple in triples}),
                "dropped": len(lost),
                "matters": MATTERS[role],
            }
        )
    return found


def _round_trip(trip: RoundTrip) -> dict[str, Any]:
    rows = [
        {"element": place.name, "private": place.private, "change": change.value, "instances": count}
        for (place, change), count in trip.differences.items()
    ]
    rows.sort(
        key=lambda row: (not row["private"], row["change"] == Change.ADDED.value, -row["instances"], row["element"])
    )
    return {
        "destination": trip.destination,
        "instances": trip.instances,
        "equal": trip.equal,
        "absent": trip.absent,
        "unreadable": trip.unreadable,
        "differences": rows,
    }
