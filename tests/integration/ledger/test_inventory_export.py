"""The archive's database and its answers, held against each other."""

import io
from typing import Any

import pytest

from cluster.inventory.export import Difference, Kind, UnusableExport, compare, read_export

HEAD = "StudyInstanceUID,PatientID,AccessionNumber,StudyDate,Modality,NumImages\n"


def compared(world: Any, text: str, **columns: str) -> tuple[Any, set[tuple[str, Kind, str, str]]]:
    found: list[Difference] = []
    done = compare(read_export(io.StringIO(text), columns), world.ledger, world.source, found.append)
    return done, {(one.study_uid, one.kind, one.export, one.archive) for one in found}


def test_every_study_that_differs_is_told_once_with_both_values(world: Any) -> None:
    world.discover("1.1", "1.2", "1.3", accession="A1", instance_count=2)

    done, found = compared(
        world,
        HEAD
        + "1.1,MRN1,A1,2020-01-01 08:30:00,CT,2\n"
        + "1.2,MRN2,A9,20200102,CT,7\n"
        + "1.4,MRN4,,,MR\\SR,3\n"
        + "1.4,MRN4,,,MR\\SR,3\n"
        + "no uid,MRN5,,,,\n",
    )

    assert found == {
        ("1.2", Kind.PATIENT, "MRN2", "MRN1"),
        ("1.2", Kind.ACCESSION, "A9", "A1"),
        ("1.2", Kind.DATE, "20200102", "20200101"),
        ("1.2", Kind.INSTANCES, "7", "2"),
        ("1.3", Kind.ARCHIVE_ONLY, "", ""),
        ("1.4", Kind.EXPORT_ONLY, "", ""),
    }
    assert (done.rows, done.unusable, done.repeated) == (5, 1, 1)


def test_a_study_that_only_the_database_has_is_asked_for_from_now_on(world: Any) -> None:
    world.discover("1.1")

    compared(world, HEAD + "1.9,MRN9,A9,,CT,4\n")
    world.ledger.plan.step({})

    assert {world.pull().study_uid, world.pull().study_uid} == {"1.1", "1.9"}
    assert world.sql("select patient_id, instance_count from study where study_uid = '1.9'") == [("MRN9", 4)]


def test_a_second_comparison_finds_both_lists_equal(world: Any) -> None:
    text = HEAD + "1.1,MRN1,,20200101,CT,2\n1.2,MRN1,,20200101,CT,2\n"
    world.discover("1.1")

    compared(world, text)

    assert compared(world, text)[1] == set()


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_columns_are_found_by_usual_names_or_as_they_were_named(world: Any, delimiter: str) -> None:
    world.discover("1.1", instance_count=2)
    text = "\ufeffIUID,MRN,N\n1.1,MRN1,3\n".replace(",", delimiter).removeprefix("\ufeff")

    _, found = compared(world, text, study_uid="IUID", instance_count="N")

    assert found == {("1.1", Kind.INSTANCES, "3", "2")}


@pytest.mark.parametrize(
    ("text", "columns"), [("a,b\n1,2\n", {}), ("StudyInstanceUID\n1.1\n", {"patient_id": "MRN"}), ("", {})]
)
def test_an_export_without_its_columns_is_refused(world: Any, text: str, columns: dict[str, str]) -> None:
    with pytest.raises(UnusableExport):
        compared(world, text, **columns)
