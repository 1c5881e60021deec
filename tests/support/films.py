"""Files like those that people bring, written with PyAV: every container and codec that it can write, phones' too.

Each shows 48 numbered frames above a colour chart, with a tone that begins at 1.0 s where the container holds sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import clips
import torch
from PIL import Image

COUNT, FPS, TONE = 48, 24, 1.0
PATCH, BARS, WIDTH = 16, 48, 96
HEVC = dict(codec="libx265", options={"crf": "4", "x265-params": "log-level=error"})
HLG = HEVC | dict(pixels="yuv420p10le", colorspace=9, color_primaries=9, color_trc=18, color_range=1)
SD = dict(colorspace=5, color_range=1)
"""BT.601, which players assume for a small picture whose codec has no tag."""
UNEVEN = [n / FPS + 0.013 * (n % 3 == 1) for n in range(COUNT)]


def drawn() -> torch.Tensor:
    """The frames [48, 112, 96, 3]: bars that hold the number above, the chart below."""
    chart = clips.chart(PATCH).expand(COUNT, -1, -1, -1)
    return torch.cat([clips.numbered(COUNT, WIDTH, BARS), chart], dim=1)


def numbers(frames: torch.Tensor) -> list[int]:
    return clips.numbers(frames[:, :BARS])


def patches(frame: torch.Tensor) -> torch.Tensor:
    """The 24 colours of a frame [112, 96, 3], each from the middle of its patch."""
    chart = frame[BARS:].reshape(4, PATCH, 6, PATCH, 3)
    return chart[:, 5:11, :, 5:11].mean(dim=(1, 3)).reshape(24, 3)


@dataclass(frozen=True)
class Film:
    """How a file is written. quarters: quarter turns clockwise. cut: the seconds that its edit list shows."""

    about: str
    how: dict[str, Any] = field(default_factory=dict)
    sound: bool = True
    quarters: int = 0
    cut: tuple[float, float] | None = None
    make: Callable[[Path, torch.Tensor], Path] | None = None

    @property
    def times(self) -> list[float]:
        """When each frame was drawn, in seconds."""
        return self.how.get("times") or [n / FPS for n in range(COUNT)]

    @property
    def same_colours(self) -> bool:
        """Whether it shows the drawn colours. HDR and files with 256 colours do not."""
        return self.how.get("color_trc") != 18 and self.how.get("pixels") != "rgb8"

    def file(self, path: Path) -> Path:
        stored = torch.rot90(drawn(), self.quarters, (1, 2)).contiguous()
        if self.make:
            return self.make(path, stored)
        sound = clips.click(COUNT / FPS, TONE) if self.sound else None
        tags = dict(colorspace=1, color_primaries=1, color_trc=1, color_range=1) if "pixels" not in self.how else {}
        clips.make(path, stored, **dict(fps=FPS, sound=sound) | tags | self.how)
        if self.quarters:
            clips.turned(path, self.quarters)
        return clips.edited(path, *self.cut) if self.cut else path


def webp(path: Path, frames: torch.Tensor) -> Path:
    pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
    ends = [round(1000 * (n + 1) / FPS) for n in range(COUNT)]
    durations = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, lossless=True, loop=0)
    return path


FILMS = {
    "h264.mp4": Film("MP4, H.264"),
    "hevc.mp4": Film("MP4, HEVC", HEVC),
    "portrait.mp4": Film("phone: MP4, H.264, portrait", quarters=1),
    "portrait.mov": Film("phone: MOV, HEVC, portrait, the other way round", HEVC, quarters=3),
    "hlg.mov": Film("phone: MOV, HEVC, HLG 10 bit", HLG),
    "uneven.mp4": Film("phone: MP4, H.264, changing frame rate", dict(times=UNEVEN)),
    "trimmed.mov": Film("phone: MOV, HEVC, portrait, trimmed (edit list)", HEVC, quarters=1, cut=(0.5, 1.5)),
    "trimmed.mp4": Film("phone: MP4, H.264, trimmed (edit list)", cut=(0.5, 1.5)),
    "prores.mov": Film("MOV, ProRes 422", dict(codec="prores_ks", pixels="yuv422p10le", colorspace=1, color_range=1)),
    "h264.mkv": Film("Matroska, H.264 with B-frames"),
    "hevc.mkv": Film("Matroska, HEVC with B-frames", HEVC),
    "uneven.mkv": Film("Matroska, H.264, changing frame rate", dict(times=UNEVEN)),
    "ffv1.mkv": Film("Matroska, FFV1", dict(codec="ffv1", pixels="bgr0", options={"level": "3"})),
    "vp9.webm": Film("WebM, VP9", dict(codec="libvpx-vp9", options={"crf": "4", "b": "0"}, voice="libopus")),
    "h264.ts": Film("MPEG-TS, H.264"),
    "h264.flv": Film("FLV, H.264"),
    "mpeg2.mpg": Film("MPEG-PS, MPEG-2", dict(codec="mpeg2video", options={"b": "20M"}, voice="mp2")),
    "h264.avi": Film("AVI, H.264", dict(voice="pcm_s16le")),
    "mpeg4.avi": Film("AVI, MPEG-4", dict(codec="mpeg4", options={"b": "20M"}, voice="pcm_s16le", **SD)),
    "wmv2.wmv": Film("WMV, WMV 2", dict(codec="wmv2", options={"b": "20M"}, **SD), sound=False),
    "h264.h264": Film("no container, H.264", sound=False),
    "gif.gif": Film("GIF", dict(codec="gif", pixels="rgb8", options={"loop": "0"}), sound=False),
    "animated.webp": Film("animated WebP", sound=False, make=webp),
}


def broken(folder: Path) -> dict[str, Path]:
    """Name -> a file that cannot be read."""
    whole = FILMS["h264.mp4"].file(folder / "whole.mp4").read_bytes()
    files = {
        "half of an MP4": ("half.mp4", whole[: len(whole) // 2]),
        "an empty file": ("empty.mp4", b""),
        "text": ("text.mp4", b"not a video\n" * 1000),
        "a codec this build has no decoder for": ("codec.mp4", whole.replace(b"avc1", b"qqqq")),
    }
    for name, content in files.values():
        (folder / name).write_bytes(content)
    found = {about: folder / name for about, (name, _) in files.items()}
    return found | {"sound only": clips.sound_only(folder / "song.m4a")}
