"""Edits a clip as latents: extends, loops, blends, masks and cuts it, and joins the sampled part back."""
