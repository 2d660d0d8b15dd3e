"""What endpoints say, as the errors that decide what happens next."""

import psycopg
import pytest
from botocore.exceptions import ClientError

from storage.errors import Retryable, UploadLost
from storage.ledger import pool
from storage.sinks import s3_errors

BARE_404 = {"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}


@pytest.mark.parametrize("operation", ["upload part", "complete upload", "abort upload"])
def test_a_bare_404_on_an_upload_means_that_the_upload_is_lost(operation):
    with pytest.raises(UploadLost), s3_errors.translated(operation, "s3://bucket"):
        raise ClientError(BARE_404, operation)


@pytest.mark.parametrize("operation", ["head", "get"])
def test_a_404_on_an_object_means_that_there_is_none(operation):
    with pytest.raises(FileNotFoundError), s3_errors.translated(operation, "s3://bucket"):
        raise ClientError(BARE_404, operation)


def test_a_ledger_that_is_read_only_for_now_is_away():
    with pytest.raises(Retryable), pool.translated("renew"):
        raise psycopg.errors.ReadOnlySqlTransaction
