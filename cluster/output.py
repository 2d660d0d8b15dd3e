"""What commands print: a table on a terminal, tab-separated lines in a pipe, JSON when asked.

JSON is for scripts: fields are only ever added, lists are one document, streams are one object a line.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

CROWDED = 1.3
"""A table that needs so many times the terminal's width is shown as records, one field a line."""

UNBOUNDED = 100_000
"""Characters: what a table would need if a terminal were as wide as it likes."""

DECIMALS = 3
"""Of numbers from 1 on that people read; JSON has all there are."""


class Form(StrEnum):
    """How results are shown."""

    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"


class Output:
    """Results on one stream; what is wrong goes to standard error."""

    def __init__(self, form: Form, stream: TextIO) -> None:
        self.form = form
        self._stream = stream
        self._console = Console(file=stream, highlight=False)

    @classmethod
    def of(cls, json_wanted: Form | None) -> "Output":
        """The form asked for, else the one that suits standard output."""
        return cls(json_wanted or (Form.TABLE if sys.stdout.isatty() else Form.PLAIN), sys.stdout)

    def rows(self, title: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A list; JSON keeps every field, the other forms show `columns`."""
        found = list(rows)
        if self.form is Form.JSON:
            self._write(plain(found))
            return
        if self.form is Form.PLAIN:
            self._line("\t".join(columns))
            for row in found:
                self._line("\t".join(_text(row.get(column)) for column in columns))
            return
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in found:
            # Values come from archives: brackets in them are no markup.
            table.add_row(*(_escaped(_shown(row.get(column))) for column in columns))
        wanted = Measurement.get(self._console, self._console.options.update(width=UNBOUNDED), table).maximum
        if found and wanted > CROWDED * self._console.width:
            self._records(title, columns, found)
        else:
            self._console.print(table)

    def _records(self, title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that are too wide for a table, as psql's expanded display has them."""
        width = max(map(len, columns))
        self._console.print(f"[italic]{_escaped(title)}[/italic]")
        for number, row in enumerate(rows, start=1):
            self._line(f"-- {number} --")
            for column in columns:
                self._line(f"{column.replace('_', ' '):{width}}  {_shown(row.get(column))}".rstrip())

    def record(self, values: Mapping[str, Any]) -> None:
        """One thing and its fields."""
        if self.form is Form.JSON:
            self._write(plain(values))
            return
        for name, value in values.items():
            parts = {f"{name} {key}": item for key, item in value.items()} if isinstance(value, Mapping) else {}
            for label, item in (parts or {name: value}).items():
                self._line(f"{_text(label).replace('_', ' ')}: {_text(item)}")

    def event(self, values: Mapping[str, Any]) -> None:
        """One line of a stream."""
        if self.form is Form.JSON:
            self._line(json.dumps(plain(values)))
        else:
            self._line("  ".join(f"{name}={_text(value)}" for name, value in values.items()))

    def say(self, sentence: str) -> None:
        """A sentence for a person; scripts do not see it."""
        if self.form is not Form.JSON:
            self._line(sentence)

    def _write(self, value: Any) -> None:
        self._line(json.dumps(value, indent=2))

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def told_size(octets: int) -> str:
    """A number of bytes as a sentence has it: exact where that is short, else rounded as well."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets} bytes ({octets / size:.1f} {unit})"
    return f"{octets} bytes"


def plain(value: Any) -> Any:
    """`value` as JSON knows it: times in ISO 8601, bytes in hexadecimal."""
    match value:
        case Enum():
            return value.value
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Path():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case str() | int() | float() | None:
            return value
        case _ if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        case _ if isinstance(value, Iterable):
            return [plain(item) for item in value]
        case _:
            return str(value)


def _shown(value: Any) -> str:
    """A cell on a terminal: times to the second."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    return _text(value)


def _text(value: Any) -> str:
    """One cell. Values come from archives: control characters must not reach a terminal."""
    value = plain(value)
    if value is None:
        return "-"
    if isinstance(value, list):
        value = ", ".join(_text(item) for item in value)
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    elif isinstance(value, float) and abs(value) >= 1:
        value = round(value, DECIMALS)
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
