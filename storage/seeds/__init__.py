"""What lies on a device that is shipped beside its packs, and how either side checks it; needs no ledger."""
