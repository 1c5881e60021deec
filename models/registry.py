"""The families this pack knows; the only file that names them."""

from __future__ import annotations

from .family import Family


def families() -> tuple[Family, ...]:
    """All families, most specific first. Imported when called: this is what loads diffusers."""
    from . import cogvideox, ltx_video, mochi

    return ltx_video.FAMILY, cogvideox.FAMILY, mochi.FAMILY
