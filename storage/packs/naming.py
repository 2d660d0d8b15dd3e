"""Where a study lies at a destination. The names obey what every seeding device accepts.

    <prefix>/studies/<2 hex>/<2 hex>/<study uid>.r0001.tar.zst               a pack
    <prefix>/studies/<2 hex>/<2 hex>/<study uid>.r0001.v0002.tar.zst         the second volume of a study in several
    <prefix>/studies/<2 hex>/<2 hex>/<study uid>/r0001/<series>/<sop>.dcm    loose instances
    <prefix>/studies/<2 hex>/<2 hex>/<study uid>/r0001/b0001/<sop>.dcm       the same in batches
    <prefix>/index/<2 hex>/<2 hex>/<study uid>.r0001.jsonl                   the index beside either

The hex digits are the first of BLAKE3 of the study UID: at most 256 entries a folder near the root, and no
hot key range from UIDs that share a vendor's root. Lower case and ASCII only, because Data Box keeps names
apart by case only on paper; no file but .dcm under a loose study, because imaging services import
everything they find there.
"""

import re
from collections.abc import Collection, Iterable, Iterator

from blake3 import blake3

from imaging.uid import Uid, parse_uid
from storage.packs.batches import batch_key
from storage.packs.model import Container, Member, PackId

STUDIES = "studies"
INDEX = "index"

_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
MAX_REVISION = 9999
MAX_VOLUME = 9999
_REVISION = re.compile(r"([0-9]{4})(?:\.v([0-9]{4}))?", re.ASCII)


def check_prefix(prefix: str) -> str:
    """The prefix without its slash at the end.

    One component at most: a loose instance already has seven, and guidance for appliances ends at eight.

    Raises
    ------
    ValueError
        More than one component, or characters outside [a-z0-9.-].
    """
    prefix = prefix.rstrip("/")
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise ValueError("a prefix is one name of lower-case letters, digits, dots and hyphens")
    return prefix


def studies_prefix(prefix: str = "") -> str:
    """What every key of a study starts with, and nothing else does."""
    return _under(prefix, STUDIES) + "/"


def indexes_prefix(prefix: str = "") -> str:
    """What the key of every index object starts with, and nothing else does."""
    return _under(prefix, INDEX) + "/"


def pack_key(pack: PackId, container: Container, prefix: str = "") -> str:
    """The key of a pack; for P10 the folder of its instances, ending in a slash."""
    place = f"{_under(prefix, STUDIES)}/{_fan(pack.study_uid)}/{pack.study_uid}"
    if container is Container.P10:
        if pack.volume > 1:
            raise ValueError("loose instances have no volumes")
        return f"{place}/{_revision(pack)}/"
    return f"{place}.{_revision(pack)}.{container.value}"


def pack_of_key(key: str, container: Container) -> PackId:
    """The study and revision that `pack_key` made the key from.

    Raises
    ------
    ValueError
        `pack_key` makes no such key.
    """
    tail = "/" if container is Container.P10 else f".{container.value}"
    stem, _, revision = key.removesuffix(tail).rpartition("/r" if container is Container.P10 else ".r")
    found = _REVISION.fullmatch(revision)
    if not stem or found is None:
        raise ValueError("not the key of a pack")
    study_uid = parse_uid(stem.rpartition("/")[2])
    pack = PackId(study_uid=study_uid, revision=int(found[1]), volume=int(found[2] or 1))
    index_key_beside(pack, container, key)
    return pack


def pack_named(key: str) -> tuple[PackId, Container] | None:
    """The pack that `key` is, or (for a loose instance) belongs to; None for keys that name neither."""
    for container in (Container.TAR_ZST, Container.TAR):
        if key.endswith(f".{container.value}"):
            return _named(key, container)
    folder, _, name = key.rpartition("/")
    series_folder, _, _ = folder.rpartition("/")
    return _named(series_folder + "/", Container.P10) if name.endswith(".dcm") else None


def _named(key: str, container: Container) -> tuple[PackId, Container] | None:
    try:
        return pack_of_key(key, container), container
    except ValueError:
        return None


def instance_key(folder: str, series_uid: Uid, sop_uid: Uid) -> str:
    """The key of one loose instance in the `pack_key` of its study."""
    return f"{folder}{series_uid}/{sop_uid}.dcm"


def member_key(folder: str, member: Member) -> str:
    """The key of a loose instance, in its batch where it has one."""
    facts = member.facts
    if member.offset:
        return batch_key(folder, member.offset, facts.sop_uid)
    return instance_key(folder, facts.series_uid, facts.sop_uid)


def study_folder(pack: PackId, key: str) -> str:
    """The folder of all revisions of the loose study at `key`, ending in a slash.

    Raises
    ------
    ValueError
        `key` is no folder of this loose study.
    """
    index_key_beside(pack, Container.P10, key)
    return key.removesuffix(f"{_revision(pack)}/")


def strangers(pack: PackId, key: str, sop_keys: Collection[str], present: Iterable[str]) -> Iterator[str]:
    """Those keys of `present` that nobody delivered into the study's folder, as named within it.

    `sop_keys` are the keys of the revision's instances. Other revisions are deliveries of their own.
    """
    folder = study_folder(pack, key)
    for found in present:
        named = pack_named(found)
        if found not in sop_keys and (named is None or named[0] == pack):
            yield found.removeprefix(folder)


def index_key(pack: PackId, prefix: str = "") -> str:
    """The key of the index object beside a pack or loose study."""
    return f"{_under(prefix, INDEX)}/{_fan(pack.study_uid)}/{pack.study_uid}.{_revision(pack)}.jsonl"


def index_key_beside(pack: PackId, container: Container, key: str) -> str:
    """The index key that belongs to a pack's key, whatever its prefix.

    Raises
    ------
    ValueError
        `key` is not a key of this pack.
    """
    tail = pack_key(pack, container)
    prefix = key.removesuffix(tail)
    if prefix + tail != key:
        raise ValueError("the key belongs to another pack")
    return index_key(pack, prefix)


def member_name(sop_uid: Uid) -> str:
    """The name of an instance inside a tar."""
    return f"instances/{sop_uid}.dcm"


def _under(prefix: str, folder: str) -> str:
    prefix = check_prefix(prefix)
    return f"{prefix}/{folder}" if prefix else folder


def _fan(study_uid: Uid) -> str:
    digits = blake3(study_uid.encode("ascii")).hexdigest(length=2)
    return f"{digits[:2]}/{digits[2:]}"


def _revision(pack: PackId) -> str:
    if not 1 <= pack.revision <= MAX_REVISION:
        raise ValueError(f"revision {pack.revision} is not in 1 to {MAX_REVISION}")
    if not 1 <= pack.volume <= MAX_VOLUME:
        raise ValueError(f"volume {pack.volume} is not in 1 to {MAX_VOLUME}")
    return f"r{pack.revision:04d}" + (f".v{pack.volume:04d}" if pack.volume > 1 else "")
