"""The packing slip: one page to print, sign and put beside the device. It names no patient and no study."""

import hashlib
from html import escape

import segno

from storage.seeds.notes import VerifyingKey
from storage.seeds.seal import Seal

_STYLE = """
body { font: 12pt/1.4 sans-serif; margin: 2cm; color: #000; }
h1 { font-size: 18pt; margin: 0 0 .3cm; }
table { border-collapse: collapse; width: 100%; margin: .5cm 0; }
td, th { border: 1px solid #888; padding: .15cm .3cm; text-align: left; vertical-align: top; }
th { width: 32%; font-weight: normal; }
code { font: 11pt/1.4 monospace; overflow-wrap: anywhere; }
.qr { float: right; width: 3.6cm; } .qr svg { width: 100%; height: auto; }
.sign td { height: 1.1cm; }
@page { size: A4; margin: 1cm; }
"""


def fingerprint(note: str) -> str:
    """SHA-256 of the seal's file, in groups: what is read out when it arrives."""
    digits = hashlib.sha256(note.encode("utf-8")).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def packing_slip(seal: Seal, note: str, key: VerifyingKey, key_id: str) -> str:
    """The slip as one HTML document that needs nothing else. `key_id` is the disk key's; empty: not encrypted."""
    digest = hashlib.sha256(note.encode("utf-8")).hexdigest()
    code = segno.make(f"limosa-seal:{seal.device}:{digest}", error="m").svg_inline(scale=4, border=2)
    rows = (
        ("Serial number", seal.serial),
        ("Device id", seal.device),
        ("Kind of device", seal.profile.value),
        ("Job, destination", f"{seal.job}, {seal.destination}"),
        ("Sealed", seal.sealed.strftime("%Y-%m-%d %H:%M %Z")),
        ("Packs (a study, or a volume of one)", f"{seal.packs:,}"),
        ("Images and other instances", f"{seal.instances:,}"),
        ("Bytes of packs", f"{seal.pack_bytes:,}"),
        ("Merkle root of the packs", seal.root.hex()),
        ("SHA-256 of the seal", fingerprint(note)),
        ("Signed with key", f"{key.name}, fingerprint {key.fingerprint}"),
        ("Packs are encrypted", f"AES-256-GCM, disk key {key_id}" if key_id else "no"),
    )
    table = "".join(f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in rows)
    steps = (
        "Compare the serial number, and the SHA-256 of the seal with the one sent separately.",
        "Mount the device read-only. limosa/readme.txt on it says how to check it without Limosa.",
        "Ingest it with the seal that came separately, and return the receipt.",
        "Erase nothing until the sender has confirmed the receipt.",
    )
    listed = "".join(f"<li>{escape(step)}</li>" for step in steps)
    hands = "".join(
        f"<tr><th>{what}</th><td>name</td><td>date, time</td><td>signature</td></tr>"
        for what in ("Handed over", "Carried", "Received, parcel and device undamaged")
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Packing slip {escape(seal.serial)}</title>'
        f"<style>{_STYLE}</style></head><body>"
        f'<div class="qr">{code}</div><h1>Packing slip</h1>'
        "<p>This device holds personal health data. Hand it only to the recipient named by the sender.</p>"
        f'<table>{table}</table><ol>{listed}</ol><table class="sign">{hands}</table></body></html>\n'
    )
