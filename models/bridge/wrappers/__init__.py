"""What is wrapped around ComfyUI's sampling on a MODEL of this pack."""
