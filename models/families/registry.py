"""The families that this pack knows. Only this file names them."""

from __future__ import annotations

from ..contract.family import Family


def families() -> tuple[Family, ...]:
    """All families, most specific first. They are imported on the first call, because they import diffusers."""
    from .cogvideox import family as cogvideox
    from .ltx2 import family as ltx2
    from .ltx_video import family as ltx_video
    from .mochi import family as mochi
    from .pyramid_flow import family as pyramid_flow

    return ltx2.FAMILY, ltx_video.FAMILY, cogvideox.FAMILY, mochi.FAMILY, *pyramid_flow.FAMILIES
