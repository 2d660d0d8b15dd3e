"""Buckets of an endpoint that Limosa started itself; anywhere else the bucket is the operator's."""

from botocore.exceptions import ClientError

from storage.sinks.options import S3Options
from storage.sinks.s3_session import client_of

_THERE = ("BucketAlreadyExists", "BucketAlreadyOwnedByYou")


def ensure_bucket(options: S3Options) -> None:
    """The bucket exists. Raises what the SDK raises when the endpoint is away or refuses."""
    try:
        client_of(options).create_bucket(Bucket=options.bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _THERE:
            raise
