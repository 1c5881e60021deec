"""List what is in ComfyUI's model folders. This room opens no weights."""
