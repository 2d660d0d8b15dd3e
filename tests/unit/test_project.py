"""The kind of a project: what it sets, and what contradicts it."""

from pathlib import Path
from typing import Any

import pytest

from cluster.job import build_job
from cluster.job_errors import JobFileError
from cluster.project import Project, misfits

PLAIN: dict[str, Any] = {
    "job": {"name": "move"},
    "source": {"kind": "files", "roots": ["/export"]},
    "destinations": [{"kind": "seed", "name": "disk", "devices": ["/device"]}],
}


def job(project: str | None, **more: Any) -> Any:
    named = {} if project is None else {"project": project}
    return build_job({**PLAIN, "job": {"name": "move", **named}, **more}, Path("move.toml"))


@pytest.mark.parametrize(
    ("project", "profile"),
    [(None, "none"), ("same-vendor", "none"), ("cross-vendor", "lenient"), ("vna", "strict"), ("cloud", "cloud")],
)
def test_the_kind_of_project_says_what_a_destination_refuses(project: str | None, profile: str) -> None:
    assert job(project).coercion.profile == profile
    assert job(project, coercion={"profile": "lenient"}).coercion.profile == "lenient"


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(JobFileError, match="project"):
        job("upgrade")


@pytest.mark.parametrize(
    ("project", "destinations", "corrects", "flaws", "told"),
    [
        (Project.SAME_VENDOR, {"dimse"}, False, {"id_of_several_people": 0}, []),
        (Project.SAME_VENDOR, {"dimse"}, False, {"id_of_several_people": 3}, ["3 patient numbers"]),
        (Project.SAME_VENDOR, {"dimse"}, True, {"id_of_several_people": 3}, []),
        (Project.SAME_VENDOR, {"s3"}, True, {}, ["no destination"]),
        (Project.CROSS_VENDOR, {"s3", "dicomweb"}, False, {}, ["there is no [identity]"]),
        (Project.VNA, {"seed"}, True, {}, ["no destination"]),
        (Project.CLOUD, {"dimse"}, False, {}, ["no destination", "there is no [identity]"]),
        (Project.CLOUD, {"seed"}, True, {"person_of_several_ids": 9}, []),
    ],
)
def test_what_does_not_look_like_the_project_is_told(
    project: Project, destinations: set[str], corrects: bool, flaws: dict[str, int], told: list[str]
) -> None:
    found = misfits(project, destinations=destinations, corrects_identity=corrects, flaws=flaws)

    assert len(found) == len(told)
    assert all(part in sentence for part, sentence in zip(told, found, strict=True))
