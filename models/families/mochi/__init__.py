"""Mochi 1 by Genmo."""
