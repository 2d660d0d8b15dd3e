"""The thread that renews the claims."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from actors.leases import LeaseKeeper
from storage.errors import Rejected, Retryable

PATIENCE = 10.0


@pytest.mark.parametrize(
    "error", [Retryable("away", place="ledger"), Rejected("read-only", place="ledger", code="25006")]
)
def test_claims_are_renewed_again_after_the_ledger_failed(error):
    failed, renewed = threading.Event(), threading.Event()

    def renew(claims, lease):
        if not failed.is_set():
            failed.set()
            raise error
        renewed.set()
        return set()

    keeper = LeaseKeeper(renew, timedelta(milliseconds=60), lambda: None)
    keeper.keep(SimpleNamespace(delivery_id=1, epoch=1), 0.0)

    keeper.start()

    assert renewed.wait(PATIENCE)
    keeper.stop()
