"""The families this pack knows; the only file that names them."""

from __future__ import annotations

from ..contract.family import Family


def families() -> tuple[Family, ...]:
    """All families, most specific first. Imported when called: this is what loads diffusers."""
    from .cogvideox import family as cogvideox
    from .ltx_video import family as ltx_video
    from .mochi import family as mochi
    from .pyramid_flow import family as pyramid_flow

    return ltx_video.FAMILY, cogvideox.FAMILY, mochi.FAMILY, *pyramid_flow.FAMILIES
