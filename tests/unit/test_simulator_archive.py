"""What the simulated archive holds: readable, repeatable, and true to its manifest."""

import io
import zlib

import pydicom
import pytest

from infra.simulator import attributes as at
from infra.simulator import big_archive, folder_archive, synthetic_archive, test_file_archive, workload_archive
from infra.simulator.content import whole
from infra.simulator.rewriting import twin_uid, with_another_pixel, with_uid
from infra.simulator.specs import archive_from

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def read(instance):
    return pydicom.dcmread(io.BytesIO(instance.file_meta() + instance.dataset()))


def test_the_same_seed_makes_the_same_archive_to_the_byte():
    first, second = (synthetic_archive(studies=9, seed=3).manifest() for _ in range(2))

    assert [i.sop_uid for i in first] == [i.sop_uid for i in second]
    assert [i.dataset() for i in first] == [i.dataset() for i in second]
    assert {i.sop_uid for i in first}.isdisjoint(i.sop_uid for i in synthetic_archive(studies=9, seed=4).manifest())


@pytest.mark.filterwarnings("ignore")
def test_every_synthetic_instance_says_what_the_manifest_says():
    for instance in synthetic_archive(studies=34).manifest():
        dataset = read(instance)

        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (instance.study_uid, instance.series_uid)
        assert (dataset.SOPInstanceUID, dataset.SOPClassUID) == (instance.sop_uid, instance.sop_class)
        assert len(instance.dataset()) == instance.size
        assert instance.size % 2 == 0


@pytest.mark.filterwarnings("ignore")
def test_query_values_are_the_stored_bytes_of_the_file():
    for instance in synthetic_archive(studies=20).manifest():
        stored = at.file_attributes(io.BytesIO(instance.file_meta() + instance.dataset()))

        assert stored[at.PATIENT_NAME] == instance.attributes[at.PATIENT_NAME].strip()
        assert stored.get(at.CHARSET, b"") == instance.attributes.get(at.CHARSET, b"")


def test_a_synthetic_archive_has_the_variety_of_a_hospital():
    held = synthetic_archive(studies=200).manifest()

    assert len({i.transfer_syntax for i in held}) >= 8
    assert {"CT", "MR", "US", "CR", "MG", "SR", "PR", "KO", "DOC"} <= {i.attributes[at.MODALITY].decode() for i in held}
    charsets = {i.attributes.get(at.CHARSET, b"").decode() for i in held}
    assert {"", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "GB18030"} <= charsets
    dates = {i.attributes[at.STUDY_DATE].decode() for i in held}
    assert "" in dates and "99991231" in dates
    accessions = {i.attributes[at.tag_of("AccessionNumber")] for i in held}
    assert b"" in accessions and max(map(len, accessions)) > 16
    patients = {i.attributes[at.PATIENT_ID] for i in held}
    assert len(patients) < len(held.study_uids)


def test_some_eight_bit_text_is_undeclared():
    held = synthetic_archive(studies=60).manifest()

    undeclared = [i for i in held if not i.attributes.get(at.CHARSET)]

    assert any(max(i.attributes[at.PATIENT_NAME]) > 0x7F for i in undeclared)


def test_names_decode_in_their_declared_character_set():
    names = {
        at.text(i.attributes[at.PATIENT_NAME], i.attributes.get(at.CHARSET, b""))
        for i in synthetic_archive(studies=100).manifest()
    }

    assert any("太郎" in name or "花子" in name for name in names)
    assert any("测试" in name or "模体" in name for name in names)
    assert any("ТЕСТОВ" in name or "ΔΟΚΙΜΗ" in name or "Żółć" in name for name in names)  # noqa: RUF001


@pytest.mark.filterwarnings("ignore")
def test_private_dose_elements_are_where_their_makers_put_them():
    held = synthetic_archive(studies=24).manifest()

    toshiba = read(next(i for i in held if i.name == "ct-toshiba"))
    philips = read(next(i for i in held if i.name == "ct-philips"))

    assert toshiba[0x70051040].value > 500
    assert toshiba.get_item(0x70051063).VR == "UN"
    assert philips[0x00E10011].value == "ELSCINT1"
    assert float(philips[0x00E11121].value) > 400


@pytest.mark.filterwarnings("ignore")
def test_compressed_pixels_can_be_decoded():
    instance = next(i for i in synthetic_archive(studies=60).manifest() if i.transfer_syntax == RLE)

    pixels = read(instance).pixel_array

    assert pixels.any()


@pytest.mark.filterwarnings("ignore")
def test_the_sample_files_keep_every_encoding_under_a_uid_of_its_own():
    held = test_file_archive().manifest()

    assert len(held) > 100
    assert len({i.sop_uid for i in held}) == len(held)
    assert len({i.transfer_syntax for i in held}) >= 9
    variant = next(i for i in held if i.name == "MR_small_bigendian.dcm")
    assert read(variant).SOPInstanceUID == variant.sop_uid


def test_sample_files_can_be_left_out():
    names = {i.name for i in test_file_archive(without=("MR_truncated.dcm",)).manifest()}

    assert "MR_small.dcm" in names
    assert "MR_truncated.dcm" not in names


def test_an_exported_archive_reads_back_as_the_same_archive(tmp_path):
    archive = synthetic_archive(studies=6)

    archive.export(tmp_path)
    again = folder_archive(tmp_path)

    assert {i.sop_uid: i.dataset() for i in again.manifest()} == {i.sop_uid: i.dataset() for i in archive.manifest()}


def test_a_large_instance_streams_the_bytes_it_announces():
    (instance,) = big_archive(size=5 << 20).manifest()

    octets = whole(instance.content)

    assert len(octets) == instance.size
    assert octets == b"".join(instance.content.chunks(1000))
    assert len(pydicom.dcmread(io.BytesIO(instance.file_meta() + octets)).PixelData) == 5 << 20


def test_a_workload_slice_is_half_a_megabyte_and_each_is_different():
    first, second = workload_archive(studies=1, instances=2).manifest()

    assert 512 * 512 * 2 < first.size < 512 * 512 * 2 + 2000
    assert first.dataset() != second.dataset()


def test_late_and_deleted_series_change_what_is_held():
    archive, more = synthetic_archive(studies=2), synthetic_archive(studies=3)
    late = more.manifest().of_study(more.manifest().study_uids[2])

    archive.add(*late)
    archive.remove([late[0].sop_uid])
    archive.remove(i.sop_uid for i in archive.studies()[0])

    assert len(archive.manifest().study_uids) == (1 if len(late) == 1 else 2)
    assert late[0].sop_uid not in {i.sop_uid for i in archive.manifest()}


def test_a_twin_uid_has_the_same_length_and_is_no_other():
    uid = "1.2.840.113619.2.5.1762583153.215519.978957063.78"

    twin = twin_uid(uid, "salt")

    assert len(twin) == len(uid) and twin != uid
    assert twin == twin_uid(uid, "salt") != twin_uid(uid, "pepper")
    assert all(part == "0" or part[0] != "0" for part in twin.split("."))


def test_deflated_datasets_can_be_rewritten_too():
    instance = next(i for i in synthetic_archive(studies=200).manifest() if i.transfer_syntax == DEFLATED)
    new = twin_uid(instance.sop_uid, "x")

    octets = with_uid(instance.dataset(), DEFLATED, instance.sop_uid, new)

    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(octets)
    assert new.encode() in inflated and instance.sop_uid.encode() not in inflated


def test_another_pixel_changes_exactly_one_byte():
    for instance in synthetic_archive(studies=8).manifest():
        if instance.transfer_syntax == DEFLATED:
            continue
        before = instance.dataset()

        after = with_another_pixel(before, instance.transfer_syntax, 1)

        expected = 0 if instance.name in ("sr", "pr", "ko", "pdf") else 1
        assert sum(a != b for a, b in zip(before, after, strict=True)) == expected


def test_archives_are_named_on_a_command_line(tmp_path):
    synthetic_archive(studies=1).export(tmp_path)

    archive = archive_from(["synthetic:studies=3,seed=2,modalities=CT+MR", str(tmp_path), "big:size=1000"])

    assert len(archive.manifest().study_uids) == 5


@pytest.mark.parametrize("spec", ["nowhere", "synthetic:colour=1", "synthetic:studies=many"])
def test_a_wrong_archive_name_is_refused(spec):
    with pytest.raises(ValueError):
        archive_from([spec])
