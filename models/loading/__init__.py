"""Load a path as MODEL, CLIP and VAE, and apply LoRAs."""
