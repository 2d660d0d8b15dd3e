"""Rules as the ledger keeps them: the same rules again, also by way of a job file."""

import json
import tomllib
from typing import Any

import pytest

from actors.coercing import in_use, kept_rules
from actors.coercion_options import CoercionOptions
from cluster.cli.coercion_versions import as_toml

ACTIONS: list[dict[str, Any]] = [
    {"kind": "set", "attribute": "InstitutionName", "value": 'Klinik "Süd" \U0001f3e5'},
    {"kind": "set", "attribute": "StationName", "value": ""},
    {"kind": "remove", "attribute": "StudyDescription"},
    {"kind": "copy", "attribute": "StationName", "source": "Modality"},
    {"kind": "map", "attribute": "PatientSex", "table": {"Male ♂": "M", "": "O", "a.b = c": "F"}},
    {"kind": "replace", "attribute": "AccessionNumber", "pattern": r"^(?!N)\d+", "by": r"N\g<0>"},
    {"kind": "pad", "attribute": "AccessionNumber", "width": 8, "fill": " ", "side": "right"},
    {"kind": "strip", "attribute": "AccessionNumber", "characters": " \t"},
    {"kind": "repair", "attribute": "StudyDate", "otherwise": "empty"},
    {"kind": "fill", "attribute": "StudyID"},
    {"kind": "lookup", "attribute": "InstitutionName", "source": "StationName", "table": {"CT1": "North"}},
    {"kind": "modality"},
    {"kind": "private", "attribute": "SpiralPitchFactor", "creator": "A", "group": "7005", "element": "23", "vr": "DS"},
]
WHEN = [{"attribute": "InstitutionName", "matches": "(?i)^north"}, {"attribute": "(0008,0050)", "absent": False}]
EVERYTHING: dict[str, Any] = {
    "originals": "ledger",
    "previous_source": "OLD",
    "profile": "strict",
    "rules": [
        {
            "name": "all",
            "version": 3,
            "modalities": ["CT", "MR"],
            "sources": ["pacs"],
            "when": WHEN,
            "actions": ACTIONS,
        },
        {"name": "text", "reason": "CORRECT", "actions": [{"kind": "utf8", "undeclared": "ISO_IR 100"}]},
    ],
}


@pytest.mark.parametrize("told", [EVERYTHING, {}, {"rules": [{"name": "one", "actions": ACTIONS[:1]}]}])
def test_kept_rules_are_the_same_rules_again(told: dict[str, Any]) -> None:
    options = CoercionOptions.model_validate(told)

    kept = in_use(options)
    stored = json.loads(json.dumps(kept.rules))
    pasted = tomllib.loads(as_toml(stored))["coercion"]

    assert kept.version == options.rule_set().version
    assert kept_rules(kept.version, stored) == CoercionOptions.model_validate(told | {"profile": "none"}).rule_set()
    assert CoercionOptions.model_validate(pasted).rule_set().version == kept.version


def test_rules_that_were_not_kept_or_say_something_else_by_now_are_not_used() -> None:
    kept = in_use(CoercionOptions.model_validate(EVERYTHING))

    assert kept_rules(kept.version, None) is None
    assert kept_rules("0123", kept.rules) is None
    assert kept_rules(kept.version, {"rules": [{"name": "x", "actions": [{"kind": "of a later release"}]}]}) is None
