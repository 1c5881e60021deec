"""Every editing node measured on real clips with the built-in model; run by tools/shots_table.py."""
