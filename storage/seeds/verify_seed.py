"""Checks a sealed device without Limosa: python3 verify_seed.py DEVICE [SEAL]

SEAL is the copy of limosa/seal.txt that travelled apart from the device; with it a device that was swapped is found.
Needs Python 3.11, zstandard and blake3. The seal's signature is checked by `limosa seed ingest`, or with OpenSSL.
"""

import base64
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import blake3
import zstandard


def merkle(leaves: list[bytes]) -> bytes:
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves] or [hashlib.sha256(b"").digest()]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[n] + level[n + 1]).digest() for n in range(0, len(level) - 1, 2)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def instances_of(device: Path, packs: set[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {key: {} for key in packs}
    with (device / "limosa/instances.jsonl.zst").open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="ascii"):
            row = json.loads(line)
            if row.get("pack") in packs:
                found[row["pack"]][f"instances/{row['sop_uid']}.dcm"] = row["sto1"]
    return found


def whole(path: Path, sha256: str) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def damaged(path: Path, row: dict, wrong: dict[str, str]) -> list[str]:
    try:
        with path.open("rb") as file:
            if file.read(14) == b"LIMOSA-CIPHER-":
                return [f"{row['key']}: not as it was sealed (encrypted: which images are hurt cannot be said)"]
            file.seek(0)
            zst = row["container"] == "tar.zst"
            plain = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if zst else file
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() else None
                    if content and blake3.blake3(content.read()).hexdigest() == wrong.get(member.name):
                        del wrong[member.name]
    except (OSError, tarfile.TarError, zstandard.ZstdError):
        pass
    return [f"{row['key']}: not as it was sealed", *(f"  damaged or behind the damage: {name}" for name in wrong)]


def main(device: Path, seal: Path | None) -> int:
    text = (device / "limosa/seal.txt").read_bytes()
    lines = (device / "limosa/packs.jsonl").read_bytes().splitlines()[1:-1]
    faults = [] if seal is None or seal.read_bytes() == text else ["the seal differs from the one that travelled apart"]
    if base64.b64encode(merkle(lines)) != text.splitlines()[2]:
        faults.append("the list of packs is not the one that was sealed")
    rows = [json.loads(line) for line in lines]
    broken = [row for row in rows if not whole(device / row["key"], row["sha256"])]
    instances = instances_of(device, {row["key"] for row in broken}) if broken else {}
    for row in broken:
        faults += damaged(device / row["key"], row, instances[row["key"]])
    spread = [f"{row['key']}: only volume {row['volume']} of a study" for row in rows if "volumes" in row]
    sys.stdout.write("\n".join([*faults, *spread, f"{len(rows)} packs, {len(broken)} damaged or missing"]) + "\n")
    return 3 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
