"""A rule is mended after the archive has moved: from the command line, and looked at years later."""

import io
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from actors.coercion_options import CoercionOptions
from infra.simulator import synthetic_archive

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

RULES = """
[[coercion.rules]]
name = "site"
modalities = ["CT"]
actions = [{ kind = "set", attribute = "InstitutionName", value = "Nroth" }]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("coercion")
    with new_world(folder, synthetic_archive(studies=6, instances=2, seed=5)) as made, made.kept():
        made.file.write_text(made.file.read_text() + RULES)
        made.run("run", str(made.file))
        yield made


def told(world: Any, *words: str) -> Any:
    return json.loads(world.run("coercion", words[0], str(world.file), *words[1:], "--json"))


def institutions(world: Any, study_uid: str, folder: Path) -> set[str]:
    world.run("studies", "fetch", str(world.file), study_uid, "--out", str(folder))
    files = [pydicom.dcmread(io.BytesIO(file.read_bytes())) for file in folder.rglob("*.dcm")]
    return {str(file.InstitutionName) for file in files if file.Modality == "CT"}


def test_a_mended_rule_is_replayed_on_the_studies_it_changed_and_both_versions_are_known(
    world: Any, tmp_path: Path
) -> None:
    job = str(world.file)
    scanned = {row["study_uid"] for row in told(world, "studies", "--rule", "site")}
    [first] = told(world, "versions")

    nothing = told(world, "replay")
    world.file.write_text(world.file.read_text().replace("Nroth", "North"))
    looked = told(world, "replay")
    said = world.run("coercion", "replay", job)
    outdated = told(world, "studies", "--outdated", "--rule", "site", "--version", first["version"][:6])
    applied = told(world, "replay", "--apply", "--by", "m.keller")
    again = told(world, "replay", "--apply")
    world.run("run", job)
    after = told(world, "replay", "--apply")

    assert 0 < len(scanned) < 6
    assert (nothing["studies"], nothing["outdated"], nothing["same"]) == (0, [], 0)
    assert looked["outdated"] == [
        {
            "version": first["version"],
            "cause": "changed",
            "rule": "site",
            "studies": len(scanned),
            "waiting": 0,
            "stopped": 0,
        }
    ]
    assert f"{len(scanned)} may become others. Nothing was changed: --apply does it." in said
    assert {row["study_uid"] for row in outdated} == scanned
    assert (applied["renewed"], again["renewed"], after["renewed"], after["outdated"]) == (len(scanned), 0, 0, [])
    rows = json.loads(world.run("studies", "list", job, "--json"))
    assert {row["study_uid"]: row["revision"] for row in rows} == {
        row["study_uid"]: 2 if row["study_uid"] in scanned else 1 for row in rows
    }
    assert {row["status"] for row in rows} == {"done"}
    for number, uid in enumerate(sorted(scanned)):
        assert institutions(world, uid, tmp_path / str(number)) == {"North"}
        links = json.loads(world.run("custody", "show", job, uid, "--json"))
        assert [link["actor"] for link in links if link["event"] == "replayed"] == ["m.keller"]
    world.run("custody", "verify", job)
    told_versions = told(world, "versions")
    assert [(row["revisions"], row["studies"], row["today"]) for row in told_versions] == [
        (6, 6 - len(scanned), False),
        (len(scanned), len(scanned), True),
    ]


def test_the_rules_of_then_can_be_printed_and_used_again(world: Any, tmp_path: Path) -> None:
    version = told(world, "versions")[0]["version"]
    instances = world.pacs.archive.manifest().instances
    images = (pydicom.dcmread(io.BytesIO(bytes(one.file_meta()) + one.dataset())) for one in instances)
    image = next(one for one in images if one.Modality == "CT")
    image.save_as(tmp_path / "ct.dcm", enforce_file_format=True)

    printed = tomllib.loads(world.run("coercion", "rules", str(world.file), version[:4]))
    [then] = told(world, "preview", str(tmp_path / "ct.dcm"), "--version", version)
    wrong = world.run("coercion", "rules", str(world.file), "zzzz", rc=1)
    unknown = world.run("coercion", "replay", str(world.file), "--rule", "nowhere", rc=1)

    assert CoercionOptions.model_validate(printed["coercion"]).rule_set().version == version
    assert (then["rule"], then["attribute"], then["after"]) == ("site/1", "InstitutionName", "Nroth")
    assert wrong.startswith("limosa: 0 versions begin with 'zzzz'")
    assert unknown == "limosa: no rule is or was called 'nowhere'; there are: site\n"
