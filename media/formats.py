"""Output formats: container, encoder, pixel formats, and which of them this build of PyAV can write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import av

from . import MediaError

CRF_MAX = 51
"""The worst quality on x264's and x265's scale, which `crf` uses. It is converted for encoders with another scale."""

Options = dict[str, str]


@dataclass(frozen=True)
class Format:
    """An output format.

    container: "" means a folder of pictures. encoders: best first; the first that this build has is used. pixels: bit
    depth -> pixel format. options(crf): options of the encoder. sound: the sound's encoder, "" if the format has no
    sound. browser: bit depths that browsers play. tag: the codec's FourCC if players do not all know the default.
    """

    name: str
    suffix: str
    container: str
    encoders: tuple[str, ...]
    pixels: Mapping[int, str]
    options: Callable[[int], Options]
    sound: str = ""
    browser: tuple[int, ...] = ()
    tag: str = ""
    container_options: Mapping[str, str] | None = None

    @property
    def encoder(self) -> str | None:
        """The encoder to use; None if this build has none of them."""
        return next((name for name in self.encoders if _pixel_formats(name) is not None), None)

    @property
    def depths(self) -> tuple[int, ...]:
        """The bit depths that this build can write, in ascending order."""
        known = _pixel_formats(self.encoder) if self.encoder else ()
        return tuple(depth for depth, pixels in sorted(self.pixels.items()) if not known or pixels in known)

    def depth(self, asked: int) -> int:
        """`asked` if this build can write it, else the highest bit depth it can."""
        return asked if asked in self.depths else self.depths[-1]


def _pixel_formats(encoder: str) -> tuple[str, ...] | None:
    """The pixel formats that an encoder takes; None if this build does not have it."""
    try:
        return tuple(pixels.name for pixels in av.Codec(encoder, "w").video_formats or ())
    except (av.error.FFmpegError, ValueError):
        return None


def _crf(crf: int) -> Options:
    return {"crf": str(crf), "preset": "medium"}


def _x265(crf: int) -> Options:
    return _crf(crf) | {"x265-params": "log-level=error"}


def _crf_of_63(crf: int) -> str:
    return str(round(crf * 63 / CRF_MAX))


def _av1(crf: int) -> Options:
    return {"crf": _crf_of_63(crf), "preset": "8"}


def _vp9(crf: int) -> Options:
    return {"crf": _crf_of_63(crf), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


def _webp(crf: int) -> Options:
    return {"lossless": "1"} if crf == 0 else {"quality": str(round(100 - 100 * crf / CRF_MAX))}


# Tags of any name, and the index at the start, so that a player can begin before it has the whole file.
TAGS_OPTIONS = {"movflags": "use_metadata_tags+faststart"}
_YUV = {8: "yuv420p", 10: "yuv420p10le"}
_AV1 = ("libsvtav1", "libaom-av1")
_MP4 = dict(suffix=".mp4", container="mp4", pixels=_YUV, sound="aac", container_options=TAGS_OPTIONS)
_WEBM = dict(suffix=".webm", container="webm", pixels=_YUV, sound="libopus")

FORMATS = (
    Format("mp4 (H.264)", encoders=("libx264",), options=_crf, browser=(8,), **_MP4),
    Format("mp4 (H.265)", encoders=("libx265",), options=_x265, tag="hvc1", **_MP4),
    Format("mp4 (AV1)", encoders=_AV1, options=_av1, browser=(8, 10), **_MP4),
    Format("webm (VP9)", encoders=("libvpx-vp9",), options=_vp9, browser=(8, 10), **_WEBM),
    Format("webm (AV1)", encoders=_AV1, options=_av1, browser=(8, 10), **_WEBM),
    Format(
        "mov (ProRes 422 HQ)",
        ".mov",
        "mov",
        ("prores_ks",),
        {10: "yuv422p10le"},
        lambda crf: {"profile": "3", "vendor": "apl0"},
        sound="pcm_s16le",
        container_options=TAGS_OPTIONS,
    ),
    Format(
        "mkv (FFV1, lossless)",
        ".mkv",
        "matroska",
        ("ffv1",),
        {8: "bgr0", 10: "gbrp10le"},
        lambda crf: {"level": "3", "slicecrc": "1"},
        sound="flac",
    ),
    Format("gif", ".gif", "gif", ("gif",), {8: "pal8"}, lambda crf: {}, browser=(8,)),
    Format(
        "webp (animated)",
        ".webp",
        "webp",
        ("libwebp_anim",),
        {8: "bgra"},
        _webp,
        browser=(8,),
        container_options={"loop": "0"},
    ),
    Format("png (folder of pictures)", "", "", ("png",), {8: "rgb24", 10: "rgb48be"}, lambda crf: {}),
)
DEFAULT = FORMATS[0].name
VIDEO = tuple(entry.name for entry in FORMATS[:7])
"""Formats with sound that other nodes can read again."""


def available(names: tuple[str, ...] | None = None) -> list[str]:
    """Names of the formats that this build of PyAV can write: of all formats, or of `names`."""
    return [entry.name for entry in FORMATS if entry.encoder and (names is None or entry.name in names)]


def named(name: str) -> Format:
    """The format with that name. Raises MediaError if this build cannot write it."""
    match = next((entry for entry in FORMATS if entry.name == name), None)
    if match is None or match.encoder is None:
        lacks = f" (it has none of {', '.join(match.encoders)})" if match else ""
        raise MediaError(f"This build of PyAV cannot write '{name}'{lacks}. It can write: {', '.join(available())}.")
    return match
