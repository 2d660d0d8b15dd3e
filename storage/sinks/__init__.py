"""Destinations that keep bytes: one Protocol, one contract suite, one module per kind."""
