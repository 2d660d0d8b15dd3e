"""A Postgres that dies takes nothing with it."""

from datetime import timedelta

import pytest

from infra.embedded.postgres import EmbeddedPostgres
from storage.errors import Retryable
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, SourceSpec
from storage.ledger.migrate import migrate
from storage.ledger.pool import Pool

LEASE = timedelta(seconds=60)


def test_the_ledger_goes_on_where_it_was_after_postgres_was_killed(
    postgres: EmbeddedPostgres, found, wait_until
) -> None:
    migrate(postgres.url)
    with Ledger(postgres.url, pool_size=2, patience=timedelta(seconds=2)) as ledger:
        known = ledger.jobs.register(
            "job",
            source_identity="s",
            sources=[SourceSpec(name="pacs", kind="dimse", pull_limit=4)],
            destinations=[DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="a")],
        )
        ledger.inventory.record_studies(known.sources["pacs"], [found("1.2")])
        ledger.plan.step({})
        claim = ledger.claims.pull("m", known.sources["pacs"], LEASE)

        postgres.kill()
        with pytest.raises(Retryable):
            ledger.claims.renew("m", [claim], LEASE)
        postgres.start()

        wait_until(lambda: reachable(ledger))
        assert ledger.claims.renew("m", [claim], LEASE) == ()


def test_postgres_ends_what_a_frozen_worker_left_open(postgres_url) -> None:
    migrate(postgres_url)
    with Pool(postgres_url, size=1) as pool, pool.transaction("look") as conn:
        settings = [
            conn.execute("select current_setting(%s)", (name,)).fetchone()
            for name in ("idle_in_transaction_session_timeout", "tcp_keepalives_idle")
        ]

    assert settings == [("30s",), ("30",)]


def reachable(ledger: Ledger) -> bool:
    """The pool looks for the server at growing intervals and may be between two looks."""
    try:
        ledger.control.paused()
    except Retryable:
        return False
    return True
