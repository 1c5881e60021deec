"""The one error of model files."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A model file or folder that cannot be used; the message says what was found, what was expected, what to do."""
