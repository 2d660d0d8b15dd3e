"""Durable state and bytes: ledger, packs, sinks, spool."""
