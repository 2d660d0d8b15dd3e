"""The device as a bag (BagIt 1.0, RFC 8493): whoever has no Limosa checks it with any bag tool.

Manifests name packs and their indexes, not instances: a file per image would be a list of a hundred million lines.
"""

from datetime import date

BAGIT = "bagit.txt"
INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
TAGMANIFEST = "tagmanifest-sha256.txt"

DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def manifest_line(path: str, sha256: bytes) -> bytes:
    """One line of a manifest. Our paths hold nothing that would have to be escaped."""
    return f"{sha256.hex()}  {path}\n".encode("ascii")


def info(*, device: str, serial: str, job: str, day: date, octets: int, files: int) -> bytes:
    """bag-info.txt; `octets` and `files` are those of the payload."""
    return (
        f"Bagging-Date: {day.isoformat()}\n"
        f"External-Identifier: {device}\n"
        f"Internal-Sender-Identifier: {serial}\n"
        f"Internal-Sender-Description: packs of DICOM studies of job {job}\n"
        f"Payload-Oxum: {octets}.{files}\n"
    ).encode("ascii")
