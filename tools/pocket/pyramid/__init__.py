"""The pocket Pyramid: Pyramid Flow's architecture on the pocket model's world, in the published layout."""
