"""The pocket model: a procedural world of moving shapes, and what trains, scores and exports a tiny LTX on it."""
