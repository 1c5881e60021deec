"""From a path to MODEL, CLIP and VAE, and LoRAs on them."""
