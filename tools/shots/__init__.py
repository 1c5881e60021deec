"""Measures every editing node on real clips with the built-in model; run by tools/shots_table.py."""
