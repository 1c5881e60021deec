"""The pocket Mochi: Mochi 1's architecture on the pocket model's world, in diffusers' layout."""
