"""Frames to files and files to frames with PyAV, one chunk at a time: no clip is ever held whole."""


class MediaError(ValueError):
    """A file that cannot be read or written, in words for the artist: what was wrong, what was expected, what to do."""
