"""Holds open exceptions against source, ledger and destinations as they are today."""
