"""LTX Video by Lightricks, 0.9.0 to 0.9.8, 2B and 13B."""
