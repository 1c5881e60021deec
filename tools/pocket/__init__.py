"""The pocket model: a procedural world of moving shapes, and training, scoring and export of a tiny LTX on it."""
