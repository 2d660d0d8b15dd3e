"""What a job's rules would make of a file: the whole way of an arriving instance, nothing written."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imaging.coercion.apply import coerce
from imaging.coercion.attributes import name_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.decisions import Decisions
from imaging.coercion.errors import NotCoercible
from imaging.coercion.plan import Change
from imaging.coercion.profiles import objections
from imaging.coercion.rules import Profile, RuleSet
from imaging.errors import Refused
from imaging.header import read_header
from imaging.instance import identify
from imaging.octets import Octets
from imaging.part10 import split_part10

_NO_RAW1 = bytes(32)
"""In place of the digest of what a source sent: a file on disk was sent by none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """One change to one file; or, with `problem`, why it would stop its study."""

    file: Path
    rule: str = ""
    attribute: str = ""
    before: str | None = None
    """None: absent."""
    after: str | None = None
    problem: str = ""


def preview(
    file: Path, part10: Octets, rules: RuleSet, source: str, moment: datetime, profile: Profile = Profile.NONE
) -> list[PreviewRow]:
    """What each rule changes, in order, and what a destination of this kind would refuse of the outcome."""
    try:
        envelope = split_part10(part10)
        instance = identify(part10, envelope.dataset_offset, envelope.transfer_syntax, _NO_RAW1)
        decisions = Decisions(rules, source=source, moment=moment)
        outcome = coerce(instance, decisions).part10
        header = instance.reading.header
        dataset, changes = Dataset(header), decisions.on(header).changes
        refusals = objections(read_header(outcome, envelope.dataset_offset, envelope.transfer_syntax), profile)
    except NotCoercible as error:
        return [PreviewRow(file=file, rule=error.rule, attribute=error.attribute, problem=error.defect)]
    except Refused as error:
        return [PreviewRow(file=file, problem=f"no instance that could be moved: {error}")]
    rows = [_row(file, dataset, change) for change in changes]
    return rows + [
        PreviewRow(
            file=file, attribute=name_of(one.tag), problem=f"a {profile} destination would refuse it: {one.what}"
        )
        for one in refusals
    ]


def _row(file: Path, dataset: Dataset, change: Change) -> PreviewRow:
    return PreviewRow(
        file=file,
        rule=change.rule,
        attribute=name_of(change.tag),
        before=_text(dataset, change.tag, change.vr, change.before),
        after=_text(dataset, change.tag, change.vr, change.after),
    )


def _text(dataset: Dataset, tag: int, vr: str, raw: bytes | None) -> str | None:
    if raw is None:
        return None
    if vr == "SQ":
        return f"a sequence of {len(raw)} bytes"
    try:
        return dataset.decoded(tag, raw)
    except NotCoercible:
        return raw.decode("ascii", "backslashreplace")
