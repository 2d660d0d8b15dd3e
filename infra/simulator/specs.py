"""Archives named on a command line: `synthetic:studies=200,seed=7`, `big:size=...`, `testfiles`, a folder."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from infra.simulator.archive import Archive
from infra.simulator.synthetic import synthetic_archive
from infra.simulator.testfiles import folder_archive, test_file_archive
from infra.simulator.workloads import big_archive, workload_archive

_MAKERS: dict[str, Callable[..., Archive]] = {
    "synthetic": synthetic_archive,
    "workload": workload_archive,
    "big": big_archive,
}


def archive_from(specs: Iterable[str]) -> Archive:
    """One archive holding everything the specifications name.

    Raises
    ------
    ValueError
        A specification names no maker, no folder, or an option its maker does not have.
    """
    return Archive(instance for spec in specs for instance in _one(spec).manifest())


def _one(spec: str) -> Archive:
    name, _, options = spec.partition(":")
    if name == "testfiles":
        return test_file_archive(without=tuple(filter(None, options.split("+"))))
    if name in _MAKERS:
        return _MAKERS[name](**_options(name, options))
    if Path(spec).is_dir():
        return folder_archive(Path(spec))
    raise ValueError(f"no such archive: {spec}")


def _options(name: str, text: str) -> dict[str, Any]:
    allowed = inspect.signature(_MAKERS[name]).parameters
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in allowed:
            raise ValueError(f"{name} has no option {key}; it has {', '.join(allowed)}")
        options[key] = value.split("+") if key == "modalities" else int(value)
    return options
