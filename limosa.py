"""The `limosa` command, behind a check that the packages it is about to run are Limosa's own.

The packages have plain names (`storage`, `cluster`, ...), and others on the package indexes share them. Installing one
of those beside Limosa wins silently over an editable install and overwrites files of a wheel. A check inside such a
package could not run once it is the shadowed one, so it stands here, and imports nothing before it has looked.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PRODUCT = "limosa"
PACKAGES = ("cluster", "actors", "storage", "imaging", "infra", "perf")
FAULT = 1


def intruders(home: Path, owners: Mapping[str, list[str]]) -> Iterator[str]:
    """One sentence per package that is not Limosa's own.

    `home` is the folder that holds our packages; `owners` names, for each importable package, the distributions that
    installed files of it.
    """
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        place = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if place != home / package:
            yield f"package {package} is {place or 'missing'}, not {home / package}"
        for owner in sorted(set(owners.get(package, [])) - {PRODUCT}):
            yield f"package {package} was also installed by the distribution {owner}"


def main() -> None:
    """The command has run; or nothing has, and the intruder is named."""
    home = Path(__file__).resolve().parent
    found = list(intruders(home, importlib.metadata.packages_distributions()))
    if found:
        for sentence in found:
            print(f"limosa: {sentence}", file=sys.stderr)  # noqa: T201 - nothing that prints better may be imported yet
        print("limosa: give it an environment of its own (see README)", file=sys.stderr)  # noqa: T201
        raise SystemExit(FAULT)

    from cluster.cli import main as run

    run()


if __name__ == "__main__":
    main()
