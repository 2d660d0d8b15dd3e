"""One value for many instances: what a proof names a study by."""

from collections.abc import Iterable

from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.uid import Uid


def study_root(instances: Iterable[InstanceFacts]) -> bytes:
    """The digest of a study's content, whatever order its instances come in.

        BLAKE3( "study1" 00 || for each instance by ascending SOP Instance UID: UID SP pd1 SP can1 LF )

    Digests in lower-case hexadecimal, '-' for an instance without pixels; UIDs sort as ASCII.
    Raises ValueError where a SOP Instance UID occurs twice: a study has each instance once.
    """
    lines: dict[Uid, str] = {}
    for one in instances:
        if one.sop_uid in lines:
            raise ValueError("a SOP Instance UID occurs twice")
        lines[one.sop_uid] = f"{one.sop_uid} {_hex(one.pd1)} {_hex(one.can1)}\n"
    state = blake3(b"study1\0")
    for uid in sorted(lines):
        state.update(lines[uid].encode("ascii"))
    return state.digest()


def uid_set_root(uids: Iterable[Uid]) -> bytes:
    """The digest of a set of UIDs: BLAKE3( "uids1" 00 || each UID LF, ascending ); repeats count once."""
    return blake3(b"uids1\0" + "".join(f"{uid}\n" for uid in sorted(set(uids))).encode("ascii")).digest()


def _hex(digest: bytes | None) -> str:
    return "-" if digest is None else digest.hex()
