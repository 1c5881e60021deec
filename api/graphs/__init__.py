"""Saved graphs, the marks in them that a request fills, and ComfyUI's queue that runs them."""
