"""What is wrong with a job file, said so that it can be corrected in one go."""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cluster.job_words import held, wanted

ENV_PREFIX = "LIMOSA_"
"""Of environment variables that override the job file."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct; `path` is empty when it concerns the file as a whole."""

    path: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        lead = f"line {self.line}: " if self.line else ""
        return f"{lead}{self.path}: {self.what}" if self.path else f"{lead}{self.what}"


class JobFileError(Exception):
    """The job file cannot be used; every mistake is named."""

    def __init__(self, file: Path, mistakes: Sequence[Mistake]) -> None:
        self.file = file
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(f"{file.name}: {mistake}" for mistake in self.mistakes))


def explain(error: ValidationError, model: type[BaseModel], text: str) -> tuple[Mistake, ...]:
    """The mistakes of a validation, in the order of their lines."""
    found: list[Mistake] = []
    items = error.errors(include_url=False)
    for item in items:
        location = tuple(item["loc"])
        # A list is also called too short when its only entry is mistaken.
        inner = any(other["loc"][: len(location)] == location and other is not item for other in items)
        if item["type"] == "too_short" and inner:
            continue
        path = _dotted(location)
        if item["type"] == "extra_forbidden":
            found.append(Mistake(path, _unknown(location, model), _line(location, text)))
        elif item["type"] == "value_error" and not location:
            # Rules between tables: each line of the message is one mistake and names its own place.
            for sentence in str(item["msg"]).removeprefix("Value error, ").splitlines():
                place, _, what = sentence.partition(": ")
                found.append(Mistake(place, what, _line(tuple(place.split(".")), text)))
        elif (variable := _variable(location)) is not None:
            found.append(Mistake(f"{path} (from {variable})", _plain(item)))
        else:
            found.append(Mistake(path, _plain(item), _line(location, text)))
    return tuple(sorted(found, key=lambda mistake: (mistake.line is None, mistake.line or 0)))


def _plain(item: ErrorDetails) -> str:
    told = wanted(item["type"], item.get("ctx", {}))
    if told is None:
        message = str(item["msg"]).removeprefix("Value error, ")
        return message[:1].lower() + message[1:]
    name = next((step for step in reversed(item["loc"]) if isinstance(step, str)), "")
    if item["type"] in ("list_type", "tuple_type") and isinstance(item["input"], dict):
        return f"must be written [[{name}]], in double brackets: there may be several"
    return told + ("" if item["type"] == "missing" else held(name, item["input"]))


def _variable(location: tuple[int | str, ...]) -> str | None:
    """The environment variable that the value is from; None when it is from the file."""
    steps = [str(step) for position, step in enumerate(location) if not _is_tag(location, position)]
    name = f"{ENV_PREFIX}{'__'.join(steps)}".upper()
    return name if any(each.upper() == name for each in os.environ) else None


def _unknown(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    allowed = sorted(_names(location[:-1], model))
    near = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown name; {hint}Allowed here: {', '.join(allowed)}"


def _names(location: tuple[int | str, ...], model: type[BaseModel]) -> Iterator[str]:
    """Names allowed at `location`, which pydantic gives as keys, indices and union tags."""
    here: list[type[BaseModel]] = [model]
    for step in location:
        if isinstance(step, int):
            continue
        tagged = [item for item in here if _tag(item) == step]
        if tagged:
            here = tagged
            continue
        fields = [item.model_fields[step] for item in here if step in item.model_fields]
        here = [found for field in fields for found in _models(field.annotation)]
    for item in here:
        yield from item.model_fields


def _tag(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _models(argument)


_SOURCES = ("dimse", "files", "dicomweb")
_TAGS = frozenset((*_SOURCES, "s3", "seed", "set", "remove", "copy", "map", "replace", "pad", "strip"))


def _dotted(location: tuple[int | str, ...]) -> str:
    path = ""
    for position, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step + 1}]"
        elif not _is_tag(location, position):
            path += f".{step}" if path else step
    return path


def _is_tag(location: tuple[int | str, ...], position: int) -> bool:
    """Whether that step only says which of several kinds of table was meant: behind a list's number, or [source]."""
    before = location[position - 1] if position else ""
    return location[position] in _TAGS and (isinstance(before, int) or (position == 1 and before == "source"))


def _line(location: tuple[int | str, ...], text: str) -> int | None:
    """The line of the file that `location` stands on, found by its table's header and its key."""
    keys = [step for step in location if isinstance(step, str) and step not in _TAGS]
    index = next((step for step in location if isinstance(step, int)), 0)
    if not keys:
        return None
    header = re.compile(r"^\s*\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}")
    best: int | None = None
    table, met, inside = "", -1, False
    for number, line in enumerate(text.splitlines(), start=1):
        if found := header.match(line):
            table = found[1]
            met += table == keys[0]
            inside = table.split(".")[0] == keys[0] and met in (index, -1)
            if inside and (best is None or table == ".".join(keys[: table.count(".") + 1])):
                best = number
            if inside and table == ".".join(keys):
                return number
        elif inside and re.match(rf"\s*{re.escape(keys[-1])}\s*=", line):
            return number
    return best
