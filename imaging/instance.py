"""One call per received instance: everything the ledger wants to know about it."""
