"""The pocket CogVideoX: CogVideoX's architecture on the pocket model's world, in diffusers' layout."""
