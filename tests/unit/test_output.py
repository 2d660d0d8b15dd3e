"""What commands print for people and for scripts."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.output import Form, Output


def printed(form: Form, value: Any) -> str:
    stream = io.StringIO()
    Output(form, stream).rows("values", ("value",), [{"value": value}])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ({}, ""),
        ({"name": "Ångström"}, '{"name": "Ångström"}'),
        ({"name": "a\x1b[2J"}, '{"name": "a\\u001b[2J"}'),
        (20.858707221735255, "20.859"),
        (0.00012345, "0.00012345"),
        (None, "-"),
    ],
)
def test_a_cell_is_text_that_a_person_can_read(value: Any, cell: str) -> None:
    assert printed(Form.PLAIN, value) == f"value\n{cell}\n"


def test_json_keeps_every_digit() -> None:
    assert json.loads(printed(Form.JSON, 20.858707221735255)) == [{"value": 20.858707221735255}]


def test_a_record_has_what_is_inside_a_value_in_lines_of_its_own() -> None:
    stream = io.StringIO()

    Output(Form.PLAIN, stream).record({"evidence": {"sop_uid": "1.2", "missing": 1}, "notes": {}})

    assert stream.getvalue() == "evidence sop uid: 1.2\nevidence missing: 1\nnotes: \n"


@pytest.mark.parametrize(
    ("columns", "lines"), [(80, ["-- 1 --", "study uid  1.2.3", "at         2026-11-30 12:00:00Z"]), (200, [])]
)
def test_a_table_that_a_terminal_is_too_narrow_for_is_shown_as_records(
    columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    row = {
        "study_uid": "1.2.3",
        "at": datetime(2026, 11, 30, 12, tzinfo=UTC),
        "remedy": "look at the archive [now] " * 4,
    }
    stream = io.StringIO()

    Output(Form.TABLE, stream).rows("open", ("study_uid", "at", "remedy"), [row])

    shown = stream.getvalue()
    assert [line for line in lines if line not in shown.splitlines()] == []
    assert ("-- 1 --" in shown) == bool(lines)
    assert "2026-11-30 12:00:00Z" in shown and "archive [now]" in shown
