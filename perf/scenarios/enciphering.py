"""As the scenario `seed`, onto a disk whose packs are encrypted where they lie.

Limosa's cipher is AES-256-GCM in chunks of 64 KiB, read back from any place. `tar | openssl enc` is AES-256-CTR, which
nothing authenticates; OpenSSL's command line offers no GCM. `limosa, in plain` is the same writer without a key: what
is between the two is the cipher's price. Every output is deciphered and compared instance by instance.
"""

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from perf.harness import Scale, Scenario, Subject, Wrong
from perf.pieces.task import Task
from perf.scenarios.writing import LANES, Files, Writing, files_of, members
from storage.packs.model import Container
from storage.sinks.cipher import DiskKey
from storage.sinks.device import PACKS, ReadOnlyDevice
from storage.sinks.unlocking import unlocked


class Enciphering(Writing):
    """A program of `perf.pieces` that has a key."""

    def __init__(self, files: Files, *, name: str, about: str, module: str, **task: Any) -> None:
        super().__init__(files, name=name, about=about, module=module, **task)
        self._key: Path | None = None

    def prepare(self) -> None:
        super().prepare()
        self._key = self._files.servers.folder / f"limosa-bench-{secrets.token_hex(6)}.key"
        DiskKey.generate().save(self._key)

    def close(self) -> None:
        if self._key is not None:
            self._key.unlink(missing_ok=True)
        super().close()

    def _told(self) -> Task:
        return replace(super()._told(), disk_key=str(self._key))

    def _verify(self, done: Mapping[str, Any]) -> None:
        if self._out is None:
            raise Wrong("nothing was written")
        self._files.check(self._packs(self._out) if self._seed else self._deciphered(self._out))

    def _packs(self, root: Path) -> Iterator[bytes]:
        device = unlocked(ReadOnlyDevice(root), f"file:{self._key}")
        for key in device.keys(PACKS):
            pack = BytesIO(b"".join(device.stream(key, 0, device.size(key))))
            if b"instances/" in (root / key).read_bytes()[:4096]:
                raise Wrong("a pack lies there in plain")
            yield from members(pack, compressed=key.endswith(".zst"))

    def _deciphered(self, folder: Path) -> Iterator[bytes]:
        for path in folder.glob("*.enc"):
            command = ["openssl", "enc", "-d", "-aes-256-ctr", "-pbkdf2", "-pass", f"file:{self._key}", "-in", path]
            done = subprocess.run(command, capture_output=True, check=True)
            yield from members(BytesIO(done.stdout), compressed=False)


def _subjects(scale: Scale) -> list[Subject]:
    files = files_of(scale, 512, 80)
    seed: dict[str, Any] = {"module": "write", "how": "seed", "lanes": LANES}
    compressed = {**seed, "container": Container.TAR_ZST.value}
    return [
        Enciphering(files, name="limosa", about="tar, AES-256-GCM, fsync every 64 MiB, index, two studies", **seed),
        Writing(files, name="limosa, in plain", about="as limosa, without a key", **seed),
        Enciphering(
            files,
            name="tar | openssl enc",
            about="AES-256-CTR, then sync -f",
            module="tools",
            how="tar-openssl-sync",
        ),
        Enciphering(files, name="limosa, tar.zst", about="as limosa, level 1", **compressed),
    ]


SCENARIOS = (
    Scenario(
        name="seed-encrypted",
        title="Half-megabyte slices onto an encrypted device, durable",
        subjects=_subjects,
        quick=False,
    ),
)
