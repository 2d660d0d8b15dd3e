"""The audit of private elements as a page."""

from collections.abc import Mapping
from typing import Any

from cluster.reports.pages import render

SHOWN_ELEMENTS = 40
"""Elements of a block on the page, those that need a word first; the rest is in the JSON."""
SHOWN_BLOCKS = 200
SHOWN_DIFFERENCES = 60

_FATES = {"kept": "kept", "dropped": "dropped", "changed": "changed", "not_seen": "not compared yet"}
_DECISIONS = {
    "keep": "keep",
    "map": "map to a standard attribute",
    "keep_and_copy": "keep and copy",
    "accept_loss": "loss accepted",
    None: "sign-off needed",
}


def page_of(document: Mapping[str, Any]) -> str:
    """One HTML file."""
    trip = document["round_trip"]
    return render(
        "audit.html.j2",
        {
            "r": document,
            "differences": [row for row in trip["differences"] if not row["private"]] if trip else [],
            "blocks": [_shown(block) for block in document["blocks"][:SHOWN_BLOCKS]],
            "hidden_blocks": max(0, len(document["blocks"]) - SHOWN_BLOCKS),
            "unknown": sum(block["unknown"] for block in document["blocks"]),
            "elements": sum(len(block["elements"]) for block in document["blocks"]),
            "dropped": sum(
                element["fate"] == "dropped" for block in document["blocks"] for element in block["elements"]
            ),
            "fates": _FATES | ({"kept": "will be kept"} if document["read_from"] == "source" else {}),
            "decisions": _DECISIONS,
            "most_differences": SHOWN_DIFFERENCES,
        },
    )


def _shown(block: Mapping[str, Any]) -> dict[str, Any]:
    """Those that need a word first, then those with a role, then by number."""
    elements = sorted(
        block["elements"], key=lambda one: (not one["open"], one["fate"] == "kept", one["role"] is None, one["low"])
    )
    return {**block, "elements": elements[:SHOWN_ELEMENTS], "hidden": max(0, len(elements) - SHOWN_ELEMENTS)}
