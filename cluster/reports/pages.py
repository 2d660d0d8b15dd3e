"""Renders a document as one HTML file that needs no network: templates escape what archives told."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cluster.reports.names import told_bytes, told_count, told_days, told_many, told_percent, told_share


def json_of(document: Mapping[str, Any]) -> str:
    """The document as JSON, for people to look at, too."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def render(template: str, values: Mapping[str, Any]) -> str:
    """The page of `template` with these values."""
    pages = Environment(
        loader=PackageLoader("cluster.reports", "templates"),
        # Every template is a page: device names and issuers in it come from an archive.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages.filters["count"] = told_count
    pages.filters["many"] = told_many
    pages.filters["bytes"] = told_bytes
    pages.filters["share"] = lambda row: told_share(row["count"], row["of"])
    pages.filters["percent"] = told_percent
    pages.filters["days"] = told_days
    pages.filters["day"] = lambda day: f"{day[:4]}-{day[4:6]}-{day[6:]}" if day.isdigit() else day
    return pages.get_template(template).render(**values)
