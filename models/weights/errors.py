"""The one error of model files."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A model file or folder that cannot be used. The message says what was found, what was expected and what to do."""
