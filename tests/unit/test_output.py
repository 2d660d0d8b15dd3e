"""What commands print for people and for scripts."""

import io
import json
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
