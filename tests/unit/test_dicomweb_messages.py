"""What goes to a DICOMweb service and what comes back, byte by byte and without a network."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imaging.octets import MemoryOctets
from storage.dicomweb.client import retry_after
from storage.dicomweb.multipart import boundary_of, first_part, fresh_boundary, related
from storage.dicomweb.options import WebAccess
from storage.dicomweb.records import records, store_report
from storage.errors import IntegrityError


def cut(message: bytes, size: int) -> list[bytes]:
    return [message[at : at + size] for at in range(0, len(message), size)]


@given(content=st.binary(max_size=200), size=st.integers(1, 40))
def test_a_part_comes_back_however_the_network_cuts_it(content: bytes, size: int) -> None:
    boundary = fresh_boundary()
    body = related([MemoryOctets(content)], boundary)

    message = b"".join(body.pieces())

    assert len(message) == body.size
    assert boundary_of(body.content_type) == boundary
    assert b"".join(first_part(iter(cut(message, size)), boundary)) == content


def test_a_message_that_ends_early_or_goes_on_is_no_instance() -> None:
    boundary = fresh_boundary()
    whole = b"".join(related([MemoryOctets(b"image")], boundary).pieces())
    two = b"".join(related([MemoryOctets(b"image"), MemoryOctets(b"other")], boundary).pieces())

    for message in (whole[:-30], b"", b"no boundary", two):
        with pytest.raises(IntegrityError):
            list(first_part(iter([message]), boundary))


def test_boundaries_differ_from_message_to_message() -> None:
    assert len({fresh_boundary() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b"', "a b"),
        ("Multipart/Related; boundary=abc; type=application/dicom", "abc"),
        ("application/dicom", None),
        ("multipart/related", None),
        ("multipart/related; boundary=" + "x" * 300, None),
    ],
)
def test_a_boundary_is_found_where_there_is_one(content_type: str, boundary: str | None) -> None:
    assert boundary_of(content_type) == boundary


def reference(uid: str, **reasons: int) -> dict[str, object]:
    tags = {"warning": "00081196", "failure": "00081197"}
    extra = {tags[name]: {"vr": "US", "Value": [value]} for name, value in reasons.items()}
    return {"00081155": {"vr": "UI", "Value": [uid]}, **extra}


def test_a_report_names_each_instance_once_and_the_worse_counts() -> None:
    body = {
        "00081199": {"vr": "SQ", "Value": [reference("1.2.1"), reference("1.2.2", warning=0xB000), reference("1.2.3")]},
        "00081198": {"vr": "SQ", "Value": [reference("1.2.3", failure=0x0110), reference("1.2.4", failure=0xA700)]},
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]},
    }

    for text in (json.dumps(body), json.dumps([body])):
        report = store_report(text.encode())

        assert report.stored == {"1.2.1": None, "1.2.2": 0xB000}
        assert report.failed == {"1.2.3": 0x0110, "1.2.4": 0xA700}
        assert report.others == (0xC000,)


def test_a_reason_that_is_no_number_is_none() -> None:
    item = b'{"00081155": {"Value": ["1.2.1"]}, "00081197": {"Value": [%s]}}'

    for reason in (b"Infinity", b"NaN", b"1e999", b'"x"', b"[]", b"null"):
        body = b'{"00081198": {"Value": [' + item % reason + b"]}}"
        assert store_report(body).failed == {"1.2.1": 0}


@pytest.mark.parametrize("body", [b"", b"<xml/>", b'"text"', b"[1]", b'{"00081199": {"Value": [{"00081155": 7}]}}'])
def test_a_report_that_cannot_be_read_names_nobody(body: bytes) -> None:
    report = store_report(body)

    assert (report.stored, report.failed) == ({}, {})


def test_an_answer_that_is_no_json_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        records(b"[" * 100_000)
    assert records(b" ") == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("9" * 40, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 11, 24, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "https://user:secret@pacs.example/dicom-web"},
        {"url": "ftp://pacs.example"},
        {"url": "https://pacs.example/?a=b"},
        {"url": "https://pacs.example", "user": "me"},
        {"url": "https://pacs.example", "user": "me", "password": "env:P", "token": "env:T"},
        {"url": "https://pacs.example", "token": "s3cr3t"},
        {"url": "https://pacs.example", "key": Path("/key.pem")},
    ],
)
def test_an_address_or_credentials_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebAccess.model_validate(wrong)

    assert "s3cr3t" not in str(caught.value.errors(include_input=False))
