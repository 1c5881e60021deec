"""The interface of a model family: grid, recipe, schedule, known frames, colours, vocabulary.

This room imports no family and no ComfyUI.
"""
