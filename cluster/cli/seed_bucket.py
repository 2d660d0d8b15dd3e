"""A bucket as it is named on a command line."""

import re
from typing import Any

from pydantic import ValidationError

from cluster.cli.exits import Stop
from storage.sinks.options import S3Options
from storage.sinks.s3_client import Bucket

_TARGET = re.compile(r"s3://(?P<bucket>[a-z0-9.-]{3,63})(?:/(?P<prefix>[A-Za-z0-9._/-]{0,512}))?", re.ASCII)


def bucket_of(option: str, target: str, **settings: Any) -> tuple[Bucket, str]:
    """The bucket that answers, and the prefix behind it without slashes around; `settings` are those of `S3Options`."""
    found = _TARGET.fullmatch(target)
    prefix = (found["prefix"] or "").strip("/") if found else ""
    if found is None or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise Stop(f"{option} takes s3://BUCKET or s3://BUCKET/PREFIX")
    try:
        options = S3Options.model_validate({"name": "bucket", "bucket": found["bucket"], **settings})
    except ValidationError as error:
        first = error.errors()[0]
        raise Stop(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None
    bucket = Bucket(options)
    bucket.reach()
    return bucket, prefix
