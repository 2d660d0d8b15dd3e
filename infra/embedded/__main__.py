"""`python -m infra.embedded FOLDER [--yes]`: embedded servers below the folder are stopped and removed, data included.

It asks first. What bears no mark of an embedded server is never touched.
"""

import sys
from pathlib import Path

from infra.embedded.home import MARK
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3

USAGE = "usage: python -m infra.embedded FOLDER [--yes]\n"


def servers_below(folder: Path) -> list[Path]:
    """Folders of embedded servers, the folder itself included."""
    return sorted(mark.parent for mark in folder.glob(f"**/{MARK}") if mark.is_file())


def remove(place: Path) -> None:
    """The server has ended, and nothing of it is left."""
    if (place / "password").exists():
        EmbeddedPostgres(place).remove()
    else:
        EmbeddedS3(place).remove()


def main(words: list[str]) -> int:
    """Exit code: 0 where nothing of a server is left, 1 where nothing was removed."""
    folders = [word for word in words if word != "--yes"]
    if len(folders) != 1 or folders[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 1
    folder = Path(folders[0])
    found = servers_below(folder)
    if not found:
        sys.stderr.write(f"{folder} holds no embedded server; nothing was removed\n")
        return 0 if folder.is_dir() else 1
    if "--yes" not in words and not _agreed(found):
        sys.stderr.write("nothing was removed; --yes removes without asking\n")
        return 1
    for place in found:
        remove(place)
        sys.stdout.write(f"removed {place}\n")
    return 0


def _agreed(found: list[Path]) -> bool:
    sys.stderr.write("".join(f"{place}\n" for place in found))
    sys.stderr.write("These servers will be stopped and all that they hold removed. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.isatty() and sys.stdin.readline().strip().lower() in ("y", "yes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
