"""A LATENT and its time: which prompt holds when, windows over long clips, storyboards."""
