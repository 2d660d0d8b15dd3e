"""What a baseline counts, against a real ledger."""

from datetime import date

import pytest

from cluster.inventory.strata import spread
from imaging.uid import Uid
from storage.ledger.samples import SampledSeries, SampledStudy, Stratum

TODAY = date(2026, 11, 24)


@pytest.fixture
def archive(world):
    found = world.found
    world.ledger.inventory.record_studies(
        world.source,
        [
            found("1.1", study_date="20190301", modalities=("SR", "CT"), instance_count=40, accession="AB-1234",
                  patient_id="0012345", issuer="HOSP", birth_date="19500101"),
            found("1.2", study_date="2019.04.01", modalities=("CT", "SR"), instance_count=3, accession="AB-1235",
                  patient_id="0012346", issuer="HOSP", patient_name="doe^jane^", birth_date="19500101"),
            found("1.3", study_date=None, modalities=None, instance_count=None, accession="AB-1234",
                  patient_id="ab 77", patient_name="Roe^John"),
            found("1.4", study_date="20191345", modalities=(), instance_count=0, accession="", patient_id="",
                  patient_name="^"),
            found("1.5", study_date="18991230", accession="Müller-Überlang-12", patient_id="0012345", issuer="HOSP",
                  patient_name="Other^Name", birth_date="19700101"),
            found("1.6", study_date="20270101", patient_id="7654321", accession="AB-9999"),
        ],
    )  # fmt: skip
    return world


def test_studies_are_grouped_by_kind_and_by_whether_their_date_is_one(archive) -> None:
    groups = archive.ledger.baselines.groups(TODAY)

    assert {(g.modalities, g.dating, g.year, g.studies, g.instances, g.uncounted) for g in groups} == {
        (("CT", "SR"), "dated", 2019, 2, 43, 0),
        (None, "undated", None, 1, 0, 1),
        (None, "no_date", None, 1, 0, 0),
        (("CT",), "sentinel", None, 1, 2, 0),
        (("CT",), "future", 2027, 1, 2, 0),
    }


def test_shapes_of_numbers_hold_no_number(archive) -> None:
    accessions = archive.ledger.baselines.accession_patterns()
    ids = archive.ledger.baselines.patient_id_patterns()

    assert [(row.pattern, row.studies, row.distinct) for row in accessions] == [
        ("AA-9999", 4, 3),
        ("A?aaaa-?aaaaaaa-99", 1, 1),
    ]
    assert {(row.issuer, row.pattern, row.studies, row.distinct) for row in ids} == {
        ("HOSP", "9999999", 3, 2),
        (None, "9999999", 1, 1),
        (None, "aa 99", 1, 1),
    }


def test_every_flaw_is_counted_once_where_it_is(archive) -> None:
    assert archive.ledger.baselines.quality() == {
        "studies": 6, "no_patient_id": 1, "no_issuer": 3, "no_patient_name": 1, "no_birth_date": 3, "no_accession": 1,
        "long_accession": 1, "id_leading_zero": 3, "id_lower_case": 1, "id_with_space": 1, "no_modality": 2,
        "claims_nothing": 1, "empty_confirmed": 0, "uid_leading_zero": 0,
        "patient_ids": 4, "id_of_several_people": 1,
        "people": 2, "person_of_several_ids": 1,
        "accessions": 4, "accession_of_several_studies": 1, "accession_of_several_patients": 1,
        "pulled": 0, "count_differs": 0,
    }  # fmt: skip


def test_an_archive_without_studies_has_a_baseline_of_zeros(world) -> None:
    baselines = world.ledger.baselines

    totals = baselines.totals()

    assert (totals.studies, totals.patients, totals.instances, totals.enumerated) == (0, 0, 0, False)
    assert baselines.groups(TODAY) == ()
    assert set(baselines.quality().values()) == {0}
    assert world.ledger.samples.totals().studies == 0
    assert (baselines.asking().items, baselines.moving().seconds) == (0, 0.0)


def test_what_was_pulled_is_counted_exactly(world) -> None:
    world.planned("1.1", "1.2")
    for _ in range(2):
        world.write(world.pull())

    baselines = world.ledger.baselines

    assert [(row.instances, row.bytes) for row in baselines.encoded()] == [(4, 800)]
    assert [(row.power, row.items, row.weight) for row in baselines.instance_sizes()] == [(7, 4, 800)]
    assert baselines.flags() == {"PIXEL_LENGTH": 4}
    assert [(m.modalities, m.studies, m.x, m.y, m.yy) for m in baselines.written_moments()] == [
        (("CT",), 2, 4.0, 800.0, 320_000.0)
    ]
    assert baselines.moving().events == 2


def looked_into(key: int, *series: SampledSeries, listed: bool = True) -> SampledStudy:
    return SampledStudy(study_key=key, listed=listed, seconds=0.5, series=series)


def read(uid: str, instances: int, size: int, **more: str) -> SampledSeries:
    return SampledSeries(series_uid=Uid(uid), instances=instances, outcome="read", size=size, **more)


def test_a_sample_is_as_large_as_wanted_and_never_looks_twice(archive) -> None:
    samples = archive.ledger.samples
    strata = [Stratum(modalities=("CT", "SR"), year=2019, wanted=1), Stratum(modalities=None, year=None, wanted=5)]

    first = samples.pick(strata, "seed")
    again = samples.pick(strata, "seed")
    for key, _ in first:
        samples.record(looked_into(key, read("1.9", 2, 10)))
    more = samples.pick([Stratum(modalities=("CT", "SR"), year=2019, wanted=2)], "seed")

    assert first == again
    assert len(first) == 2
    assert first[1][1] == "1.3"
    assert [uid for _, uid in more] == ["1.2" if first[0][1] == "1.1" else "1.1"]


def test_the_strata_of_a_sample_are_those_of_the_groups(archive) -> None:
    picked = archive.ledger.samples.pick(spread(archive.ledger.baselines.groups(TODAY), 100), "seed")

    # Every study but the one that claims nothing.
    assert len(picked) == 5


def test_a_sample_is_summed_by_device_and_stands_for_its_series(archive) -> None:
    samples = archive.ledger.samples
    one, two = (key for key, _ in samples.pick([Stratum(modalities=("CT", "SR"), year=2019, wanted=2)], "seed"))
    samples.record(looked_into(one, read("1.7", 30, 1000, modality="CT", manufacturer="Acme", model="Scan")))
    samples.record(
        looked_into(
            two,
            read("1.8", 10, 500, modality="CT", manufacturer="Acme", model="Scan"),
            SampledSeries(series_uid=Uid("1.9"), instances=4, outcome="damaged"),
            listed=False,
        )
    )

    (device,) = samples.equipment()
    totals = samples.totals()

    assert (device.studies, device.series, device.instances, device.bytes) == (2, 2, 40, 35_000)
    assert (totals.studies, totals.unlisted, totals.series, totals.read, totals.damaged) == (2, 1, 3, 2, 1)
    assert [(m.studies, m.x, m.y) for m in samples.moments()] == [(1, 30.0, 30_000.0)]
    assert [(b.power, b.items, b.weight) for b in samples.sizes()] == [(8, 10, 5000), (9, 30, 30_000)]


def test_a_study_sampled_again_replaces_what_was_seen_before(archive) -> None:
    samples = archive.ledger.samples
    ((key, _),) = samples.pick([Stratum(modalities=("CT", "SR"), year=2019, wanted=1)], "seed")

    samples.record(looked_into(key, read("1.7", 1, 1), read("1.8", 1, 1)))
    samples.record(looked_into(key, read("1.7", 1, 1)))

    assert samples.totals().series == 1


def test_a_sampled_study_counts_by_the_best_dose_that_any_of_its_series_offers(archive) -> None:
    samples = archive.ledger.samples
    one, two, three = (key for key, _ in samples.pick(spread(archive.ledger.baselines.groups(TODAY), 100), "seed")[:3])
    samples.record(looked_into(one, read("1.7", 1, 1, dose="none"), read("1.8", 1, 1, dose="readable")))
    samples.record(looked_into(two, read("1.9", 1, 1, dose="screen_only"), read("1.10", 1, 1)))
    samples.record(looked_into(three, read("1.11", 1, 1)))

    assert samples.dose() == {"readable": 1, "screen_only": 1}


def test_an_audit_of_the_source_chooses_of_all_that_it_lists(archive) -> None:
    audits = archive.ledger.audits

    listed = audits.chosen(per_stratum=1, seed="1", written=False)

    # One of each kind and year that claims to have something.
    assert {(one.modalities, one.year, one.of) for one in listed} >= {(("CT", "SR"), 2019, 1), (("CT",), 2027, 1)}
    assert "1.4" not in {one.study_uid for one in listed}
    assert audits.chosen(per_stratum=1, seed="1") == ()
