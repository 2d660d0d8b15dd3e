"""`python -m infra.embedded FOLDER`: every embedded server below the folder is stopped and removed, data included."""

import sys
from pathlib import Path

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3


def remove_below(folder: Path) -> list[Path]:
    """No server is left below the folder; what was removed is returned."""
    found = sorted(path.parent for path in folder.glob("**/home") if (path.parent / "lock").is_file())
    for place in found:
        if (place / "password").exists():
            EmbeddedPostgres(place).remove()
        else:
            EmbeddedS3(place).remove()
    return found


if __name__ == "__main__":
    for removed in remove_below(Path(sys.argv[1])):
        sys.stdout.write(f"removed {removed}\n")
