"""What a video model is, without any user interface: families, known frames, checkpoints, and the bridge to ComfyUI."""
