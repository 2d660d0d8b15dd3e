"""The job file decides, then what was learnt, then the defaults."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from actors.options import SourceProfile
from cluster.cli.jobfile import template
from cluster.job import Job, build_job
from cluster.profile import Origin, informed, traits

VALUES = {
    "find_cap": st.integers(1, 10_000),
    "charset": st.sampled_from(["ISO_IR 100", "ISO_IR 192"]),
    "image_level": st.booleans(),
    "study_counts": st.booleans(),
    "stable": st.booleans(),
}
SOME = st.fixed_dictionaries({}, optional=VALUES)


def job_with(profile: dict[str, object]) -> Job:
    table = tomllib.loads(template("move"))
    table["source"]["profile"] = profile
    return build_job(table, Path("move.toml"))


@given(given_values=SOME, learnt=SOME)
def test_the_first_that_says_something_decides(given_values: dict[str, object], learnt: dict[str, object]) -> None:
    found = {trait.name: trait for trait in traits(SourceProfile(**given_values), learnt)}

    default = SourceProfile()
    for name in SourceProfile.model_fields:
        if name in given_values:
            expected = given_values[name], Origin.JOB
        elif name in learnt:
            expected = learnt[name], Origin.LEARNT
        else:
            expected = getattr(default, name), Origin.DEFAULT
        assert (found[name].value, found[name].origin) == expected
        assert found[name].learnt == learnt.get(name)


def test_newer_knowledge_replaces_older_but_never_the_job_file() -> None:
    job = job_with({"image_level": False})

    once = informed(job, {"find_cap": 100, "image_level": True})
    twice = informed(once, {"find_cap": 200})

    assert once.find_cap == 100 and once.source.profile.image_level is False
    assert twice.find_cap == 200
    assert twice.file == job.file


def test_what_another_version_has_learnt_is_left_alone() -> None:
    assert informed(job_with({}), {"speaks_klingon": True}).source.profile == SourceProfile()
