"""A LATENT over time: which prompt applies when, windows over long clips, storyboards."""
