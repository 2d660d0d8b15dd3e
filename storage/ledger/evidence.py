"""How the ledger hashes: SOP keys and the links of a custody chain. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from blake3 import blake3

from imaging.uid import Uid
from storage.ledger.records import CustodyEntry, Json, JsonValue

CHAIN_START = bytes(32)
"""What the first link of every chain calls its predecessor."""


def sop_key(sop_uid: Uid) -> UUID:
    """The first 16 bytes of the UID's BLAKE3, as the ledger's `sop` table keeps them.

    128 bits: among four billion UIDs a chance collision has odds of one in 4e19.
    """
    return UUID(bytes=blake3(sop_uid.encode("ascii")).digest(length=16))


def link_hash(*, study_uid: Uid, seq: int, at: datetime, event: str, actor: str, payload: Json, prev: bytes) -> bytes:
    """The hash of one custody entry, over its predecessor's hash and its own content as canonical JSON.

    Raises
    ------
    ValueError
        The payload holds a fraction or something that is no JSON.
    """
    _check(payload)
    stamp = at.astimezone(UTC).isoformat(timespec="microseconds")
    content = json.dumps(
        [study_uid, seq, stamp, event, actor, payload], sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return blake3(b"limosa custody 1\n" + prev + content.encode("utf-8")).digest()


def first_broken_link(study_uid: Uid, entries: Sequence[CustodyEntry]) -> int | None:
    """The sequence number where the chain of `entries` (in order, from the first) breaks; None if it holds."""
    prev = CHAIN_START
    for seq, entry in enumerate(entries, start=1):
        if entry.seq != seq or entry.prev_hash != prev or entry.hash != _true_hash(study_uid, entry, prev):
            return seq
        prev = entry.hash
    return None


def _true_hash(study_uid: Uid, entry: CustodyEntry, prev: bytes) -> bytes | None:
    """The hash that the entry's content gives; None for content that never was one of ours."""
    try:
        return link_hash(
            study_uid=study_uid,
            seq=entry.seq,
            at=entry.at,
            event=entry.event,
            actor=entry.actor,
            payload=entry.payload,
            prev=prev,
        )
    except ValueError:
        return None


def _check(value: JsonValue) -> None:
    if value is None or isinstance(value, str | int):
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # json.dumps would coerce
                raise ValueError("a custody payload has a key that is no text")
            _check(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner)
    else:
        raise ValueError(f"a custody payload cannot hold a {type(value).__name__}")
