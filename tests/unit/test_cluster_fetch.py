"""Where a study is sent to is read from one word."""

import pytest

from cluster.cli.exits import Stop
from cluster.cli.fetch import parse_pacs
from cluster.fetch import Pacs


@pytest.mark.parametrize(
    ("text", "pacs"),
    [
        ("viewer.example:104:VIEWER", Pacs(host="viewer.example", port=104, ae_title="VIEWER")),
        ("10.0.0.7:11112:MY PACS", Pacs(host="10.0.0.7", port=11112, ae_title="MY PACS")),
        ("[::1]:104:A:B", Pacs(host="::1", port=104, ae_title="A:B")),
    ],
)
def test_host_port_and_title_are_told_apart(text: str, pacs: Pacs) -> None:
    assert parse_pacs(text) == pacs


@pytest.mark.parametrize("text", ["nowhere", "host:0:AE", "host:65536:AE", "host:104:", "host:104:A\\B", "host:104: "])
def test_what_is_no_address_of_a_pacs_is_refused(text: str) -> None:
    with pytest.raises(Stop, match="HOST:PORT:AETITLE"):
        parse_pacs(text)
