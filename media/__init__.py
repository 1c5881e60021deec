"""Reads and writes video files with PyAV, one chunk of frames at a time, so that no clip has to fit in memory."""


class MediaError(ValueError):
    """A file cannot be read or written. The message says what was wrong, what was expected and what to do."""
