"""Settings of S3 destinations, held against what each kind of endpoint takes."""

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from imaging.uid import Uid
from storage.packs.model import Container, PackId
from storage.packs.naming import pack_key
from storage.sinks.options import S3Options

BUCKET = {"name": "cloud", "bucket": "images"}
SNOWBALL = {**BUCKET, "profile": "snowball", "endpoint_url": "http://192.0.2.1:8080"}


def test_a_profile_sets_what_the_job_file_leaves_out() -> None:
    generic, aws = S3Options(**BUCKET), S3Options(**BUCKET, profile="aws")
    snowball = S3Options.model_validate(SNOWBALL)

    assert (generic.path_style, generic.checksum, generic.if_none_match) == (True, "crc64nvme", True)
    assert (aws.path_style, aws.checksum, aws.if_none_match) == (False, "crc64nvme", True)
    assert (snowball.path_style, snowball.checksum, snowball.if_none_match) == (True, "none", False)
    assert (snowball.region, S3Options.model_validate({**SNOWBALL, "region": "x"}).region) == ("snow", "x")
    assert S3Options(**BUCKET, profile="aws", path_style=True).path_style


def test_settings_that_were_read_once_are_read_again_as_they_are() -> None:
    for given in (BUCKET, {**BUCKET, "profile": "aws"}, SNOWBALL):
        options = S3Options.model_validate(given)

        assert S3Options(**options.model_dump()) == options


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({**SNOWBALL, "checksum": "crc64nvme"}, 'checksum: a snowball endpoint knows only "none"'),
        ({**SNOWBALL, "if_none_match": True}, "if_none_match: a snowball endpoint knows only false"),
        ({**SNOWBALL, "path_style": False}, "path_style: a snowball endpoint knows only true"),
        ({**SNOWBALL, "storage_class": "STANDARD_IA"}, "storage_class: a snowball endpoint has none"),
        ({**SNOWBALL, "tags": {"a": "b"}}, "tags: a snowball endpoint has none"),
        ({**SNOWBALL, "part_size": 600_000_000}, "parts of 600000000 bytes"),
        ({**SNOWBALL, "endpoint_url": None}, "at its own address"),
        ({**BUCKET, "profile": "aws", "storage_class": "DEEP_ARCHIVE"}, "validation reads everything back"),
        ({**BUCKET, "lock_mode": "COMPLIANCE"}, "needs both"),
        ({**BUCKET, "lock_days": 3}, "needs both"),
        ({**BUCKET, "lock_days": 3, "lock_mode": "GOVERNANCE", "checksum": "none"}, "with a checksum"),
        ({**BUCKET, "largest_pack": "4TiB"}, "largest_pack: needs parts of"),
        ({**BUCKET, "tags": {"a\n": "b"}}, "tags"),
        ({**BUCKET, "tags": {str(n): "" for n in range(11)}}, "tags"),
        ({**BUCKET, "profile": "minio"}, "profile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_endpoint_does_not_take_is_refused_by_name(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        S3Options.model_validate(given)

    assert told in str(caught.value)


def test_a_declared_largest_pack_makes_the_parts_it_needs() -> None:
    assert S3Options(**BUCKET).parts.size == 16 << 20
    assert S3Options.model_validate({**BUCKET, "largest_pack": "20GiB"}).parts.size == 16 << 20
    large = S3Options.model_validate({**BUCKET, "largest_pack": "300GiB"}).parts

    assert large.size == 103 << 20
    assert large.target(10_000) > large.size


def test_keys_of_one_vendors_studies_spread_over_the_first_names_below_the_prefix() -> None:
    studies = (PackId(study_uid=Uid(f"1.2.840.113619.2.55.3.{n}"), revision=1) for n in range(20_000))

    spread = Counter(pack_key(pack, Container.TAR, "archive").split("/")[2] for pack in studies)

    assert len(spread) == 256
    assert max(spread.values()) < 1.6 * 20_000 / 256
