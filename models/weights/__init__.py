"""What is in model files: safetensors, GGUF, quantised matrices, the parts of a checkpoint."""
