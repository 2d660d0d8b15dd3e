"""Import jobs take in every proven study once, nothing else, and no more than a job takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli.exits import Stop
from cluster.cli.imports import chosen_destination
from cluster.imports import ImportJob, import_jobs
from cluster.job import build_job
from imaging.uid import Uid
from storage.ledger.facts import LooseStudy
from storage.packs.batches import MAX_BYTES, MAX_FILES

GB = 1_000_000_000


def study(fan: str, number: int = 1, *, files: int = 10, size: int = GB, proven: bool = True) -> LooseStudy:
    uid = Uid(f"1.2.{number}")
    key = f"archive/studies/{fan}/{uid}/r0001/"
    return LooseStudy(key=key, study_uid=uid, revision=1, files=files, bytes=size, proven=proven)


def in_two(large: LooseStudy) -> Iterator[ImportJob]:
    for number, files in ((1, MAX_FILES), (2, large.files - MAX_FILES)):
        yield ImportJob(prefix=f"{large.key}b{number:04d}/", files=files, bytes=GB)


def prefixes(*studies: LooseStudy) -> list[str]:
    jobs = import_jobs(sorted(studies, key=lambda each: each.key), in_two)
    return [job.prefix.removeprefix("archive/studies/") for job in jobs]


def test_small_neighbours_share_a_job() -> None:
    assert prefixes(study("00/11"), study("00/22", 2), study("01/11", 3)) == ["00/", "01/"]


def test_neighbours_that_do_not_fit_one_job_have_one_for_each_folder_or_study() -> None:
    large = [study("00/11", 1, size=6 * GB), study("00/22", 2, size=3 * GB), study("00/22", 3, size=7 * GB)]

    assert prefixes(*large) == ["00/11/", "00/22/"]
    assert prefixes(*large, study("00/22", 4, files=1)) == [
        "00/11/",
        *(f"00/22/1.2.{number}/r0001/" for number in (2, 3, 4)),
    ]


def test_a_study_that_is_not_proven_is_in_no_job_and_its_neighbours_are() -> None:
    assert prefixes(study("00/11"), study("00/11", 2, proven=False), study("00/22", 3)) == [
        "00/11/1.2.1/r0001/",
        "00/22/",
    ]
    assert prefixes(study("00/11", proven=False)) == []


def test_a_study_that_is_too_large_for_a_job_has_one_for_each_batch() -> None:
    large = study("00/11", files=MAX_FILES + 1)

    assert prefixes(large) == ["00/11/1.2.1/r0001/b0001/", "00/11/1.2.1/r0001/b0002/"]
    assert prefixes(study("00/11", files=MAX_FILES + 1, proven=False)) == []


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.integers(1, MAX_FILES), st.integers(1, MAX_BYTES), st.booleans()),
    )
)
def test_jobs_keep_their_limits_and_cover_what_is_proven_once(held: dict) -> None:
    studies = [
        study(f"0{first}/0{second}", number, files=files, size=size, proven=proven)
        for (first, second, number), (files, size, proven) in held.items()
    ]
    jobs = list(import_jobs(sorted(studies, key=lambda each: each.key), in_two))

    assert all(job.files <= MAX_FILES and job.bytes <= MAX_BYTES for job in jobs)
    for each in studies:
        assert sum(each.key.startswith(job.prefix) for job in jobs) == each.proven


def job_with(*layouts: str):
    destinations = [
        {"kind": "s3", "name": f"bucket-{number}", "bucket": "images", "layout": layout}
        for number, layout in enumerate(layouts, 1)
    ]
    source = {"host": "127.0.0.1", "port": 104, "ae_title": "PACS"}
    receivers = [{"ae_title": "LIMOSA", "port": 11112}]
    table = {"job": {"name": "test"}, "source": source, "receivers": receivers, "destinations": destinations}
    return build_job(table, Path("job.toml"))


def test_the_destination_is_named_where_there_are_several_and_none_is_guessed() -> None:
    assert chosen_destination(job_with("pack", "imaging-service"), None).name == "bucket-2"
    assert chosen_destination(job_with("imaging-service", "imaging-service"), "bucket-2").name == "bucket-2"
    with pytest.raises(Stop, match="bucket-1, bucket-2"):
        chosen_destination(job_with("imaging-service", "imaging-service"), None)
    with pytest.raises(Stop, match="bucket-2"):
        chosen_destination(job_with("pack", "imaging-service"), "bucket-1")
    with pytest.raises(Stop, match="no other layout"):
        chosen_destination(job_with("pack", "p10"), None)
