"""What has come to the archive, or changed there, since the last inventory.

    the last days by study date -> studies that were new or changed in the last days, by UID

The counts that studies claim now are compared with those in the ledger, because a series that arrives late
changes no date. `storage.ledger` marks a study whose count differs for a new revision. Priors that are
imported today are dated years ago: only the second question sees what is added to them tomorrow.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from cluster.inventory.recount import RecountPlan
from imaging.uid import Uid
from storage.ledger.ledger import Ledger


def delta_plan(options: InventoryOptions, *, cap: int | None, today: date, days: int) -> Plan:
    """A plan that asks for the last `days` days and for dates to come."""
    since = today - timedelta(days=days)
    return Plan(options.model_copy(update={"sweeps": ()}), cap=cap, today=today, since=since)


def recount_plan(ledger: Ledger, source_id: int, days: int, *, begun: datetime) -> RecountPlan:
    """A plan that asks for the studies of the last `days` days that were not met since `begun` (the ledger's clock)."""
    return RecountPlan(_recent(ledger, source_id, timedelta(days=days), begun))


def _recent(ledger: Ledger, source_id: int, within: timedelta, begun: datetime) -> Iterator[Uid]:
    after = 0
    while page := ledger.inventory.recent(source_id, within, met_before=begun, after_key=after):
        yield from (uid for _, uid in page)
        after = page[-1][0]
