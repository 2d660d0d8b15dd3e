"""The seal of a device: a signed checkpoint over its packs. It travels with the device and, as a copy, apart from it.

limosa/seed/<device id>            origin          |
<number of packs>                                  | the three lines of a C2SP checkpoint
<base64 of the Merkle root>                        |
<name> <value>                     the fields below, one a line
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from storage.seeds.errors import SeedRefused
from storage.seeds.notes import SigningKey, VerifyingKey, open_note, text_of
from storage.seeds.profiles import ProfileName

SEAL = "limosa/seal.txt"
_ORIGIN = "limosa/seed/"
_DEVICE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COUNT = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_FIELDS = (
    "format", "job", "destination", "serial", "profile", "sealed", "instances", "bytes", "packs-sha256",
    "instances-sha256", "key",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What was signed."""

    device: str
    """Its id: 32 hexadecimal digits."""
    serial: str
    """As it stands on the device; "-" where nobody gave one."""
    job: str
    destination: str
    profile: ProfileName
    sealed: datetime
    packs: int
    instances: int
    pack_bytes: int
    """Of all packs."""
    root: bytes
    packs_sha256: bytes
    """Of the packs' manifest."""
    instances_sha256: bytes
    """Of the instances' manifest."""

    def signed(self, key: SigningKey) -> str:
        """The seal as a note."""
        values = (
            "limosa-seal-1",
            self.job,
            self.destination,
            self.serial,
            self.profile.value,
            self.sealed.isoformat(timespec="seconds"),
            str(self.instances),
            str(self.pack_bytes),
            self.packs_sha256.hex(),
            self.instances_sha256.hex(),
            str(key.verifier),
        )
        fields = [f"{name} {value}" for name, value in zip(_FIELDS, values, strict=True)]
        root = base64.b64encode(self.root).decode("ascii")
        return key.sign("\n".join([f"{_ORIGIN}{self.device}", str(self.packs), root, *fields]) + "\n")


def key_of(note: str) -> VerifyingKey:
    """The key that a seal says it is signed with. Believe it only when a person has compared its fingerprint."""
    return _read(text_of(note))[1]


def open_seal(note: str, key: VerifyingKey) -> Seal:
    """The seal that `key` signed.

    Raises
    ------
    BadSignature
        It is not signed by this key, or was changed.
    SeedRefused
        It is no seal of this version.
    """
    return _read(open_note(note, key))[0]


def _read(text: str) -> tuple[Seal, VerifyingKey]:
    lines = text.splitlines()
    if len(lines) != 3 + len(_FIELDS) or not lines[0].startswith(_ORIGIN):
        raise SeedRefused("not a seal", operation="read", place="seal")
    names = tuple(line.partition(" ")[0] for line in lines[3:])
    values = dict(zip(names, (line.partition(" ")[2] for line in lines[3:]), strict=True))
    if names != _FIELDS or values["format"] != "limosa-seal-1":
        raise SeedRefused("a seal of another version", operation="read", place="seal")
    try:
        sealed = datetime.fromisoformat(values["sealed"])
        if sealed.tzinfo is None:
            raise ValueError
        seal = Seal(
            device=_like(_DEVICE, lines[0].removeprefix(_ORIGIN)),
            serial=_like(SERIAL, values["serial"]),
            job=_like(_NAME, values["job"]),
            destination=_like(_NAME, values["destination"]),
            profile=ProfileName(values["profile"]),
            sealed=sealed,
            packs=int(_like(_COUNT, lines[1])),
            instances=int(_like(_COUNT, values["instances"])),
            pack_bytes=int(_like(_COUNT, values["bytes"])),
            root=base64.b64decode(lines[2], validate=True),
            packs_sha256=bytes.fromhex(_like(_DIGEST, values["packs-sha256"])),
            instances_sha256=bytes.fromhex(_like(_DIGEST, values["instances-sha256"])),
        )
        return seal, VerifyingKey.parse(values["key"])
    except (ValueError, binascii.Error):
        raise SeedRefused("a seal with impossible values", operation="read", place="seal") from None


def _like(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError("unexpected")
    return text
