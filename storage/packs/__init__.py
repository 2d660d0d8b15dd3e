"""Packs: one archive file per study and revision, readable instance by instance and by plain tar."""
