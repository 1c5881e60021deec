"""What a family answers: its grid, recipe, schedule, known frames, colours and vocabulary. No family, no ComfyUI."""
