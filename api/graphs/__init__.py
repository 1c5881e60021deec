"""Saved graphs, the marks that a request's values replace, and ComfyUI's queue."""
