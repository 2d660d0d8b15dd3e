"""What has come to the archive, or changed there, since the last inventory.

Studies are asked for by date; the counts they claim now are compared with those in the ledger, because a
series that arrives late changes no date. `storage.ledger` marks a study whose count differs for a new revision.
"""

from datetime import date, timedelta

from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan


def delta_plan(options: InventoryOptions, *, cap: int | None, today: date, days: int | None = None) -> Plan:
    """A plan that asks for the last `days` days (default: `options.delta_days`) and for dates to come."""
    since = today - timedelta(days=days or options.delta_days)
    return Plan(options.model_copy(update={"sweeps": ()}), cap=cap, today=today, since=since)
