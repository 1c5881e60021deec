"""What lies in ComfyUI's model folders. No weights are opened here."""
