"""The families this pack knows; the only file that names them."""

from __future__ import annotations

from .family import Family


def families() -> tuple[Family, ...]:
    """All families, most specific first. Imported when called: this is what loads diffusers."""
    from . import cogvideox, ltx_video, mochi
    from .pyramid_flow import family as pyramid_flow

    return ltx_video.FAMILY, cogvideox.FAMILY, mochi.FAMILY, *pyramid_flow.FAMILIES
