"""Wrappers around ComfyUI's sampling of this pack's MODELs. They run in every sampler node."""
