"""Clips for tests, written with PyAV directly, not with the code under test."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

# sRGB values of the ColorChecker's 24 patches.
CHECKER = (
    "735244 c29682 627a9d 576c43 8580b1 67bdaa d67e2c 505ba6 c15a63 5e3c6c 9dbc40 e0a32e "
    "383d96 469449 af363c e7c71f bb5695 0885a1 f3f3f2 c8c8c8 a0a0a0 7a7a79 555555 343434"
).split()


def chart(patch: int = 32) -> torch.Tensor:
    """The colour chart as one image [4 * patch, 6 * patch, 3] in 0..1."""
    colours = torch.tensor([[int(text[n : n + 2], 16) / 255 for n in (0, 2, 4)] for text in CHECKER])
    return colours.reshape(4, 6, 3).repeat_interleave(patch, 0).repeat_interleave(patch, 1)


def numbered(count: int, width: int = 64, height: int = 48) -> torch.Tensor:
    """Frames [count, H, W, 3] that show their number: eight bits as black and white bars from top to bottom."""
    bits = (torch.arange(count)[:, None] >> torch.arange(8)) & 1
    rows = bits.repeat_interleave(height // 8, dim=1).float()
    return rows[:, :, None, None].expand(-1, -1, width, 3).contiguous()


def numbers(frames: torch.Tensor) -> list[int]:
    """The numbers that frames [N, H, W, 3] show."""
    rows = frames.mean(dim=(2, 3)).reshape(len(frames), 8, -1).mean(-1) > 0.5
    return [int(sum(int(bit) << n for n, bit in enumerate(row))) for row in rows]


def click(seconds: float, at: float, rate: int = 48_000) -> np.ndarray:
    """Silence [2, samples] with a tone of a tenth of a second in it, beginning at `at`."""
    samples = np.zeros((2, round(seconds * rate)), np.float32)
    tone = np.sin(np.arange(rate // 10) * 2 * np.pi * 1000 / rate).astype(np.float32) / 2
    samples[:, round(at * rate) : round(at * rate) + len(tone)] = tone
    return samples


def clicked(samples: np.ndarray, rate: int) -> float:
    """When the tone begins, in seconds."""
    return float(np.argmax(np.abs(samples[0]) > 0.1)) / rate


def make(
    path: Path,
    frames: torch.Tensor,
    fps: int = 24,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: list[float] | None = None,
    sound: np.ndarray | None = None,
    options: dict[str, str] | None = None,
    voice: str = "aac",
    **tags: int,
) -> Path:
    """Write frames [N, H, W, 3 or 4] in 0..1; `times`: in seconds, if they are not evenly spaced. `tags`: of colour."""
    ticks = Fraction(1, 1000) if times else Fraction(1, fps)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=fps, options=options or {"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        stream.codec_context.time_base = ticks
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        speaker = output.add_stream(voice, rate=48_000, layout="stereo") if sound is not None else None
        output.start_encoding()
        kind = "rgba" if frames.shape[-1] == 4 else "rgb24"
        for number, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray((image * 255).round().byte().numpy(), format=kind)
            colours = dict(dst_colorspace=tags.get("colorspace", 1), dst_color_range=tags.get("color_range", 1))
            picture = picture.reformat(format=pixels, **(colours if "yuv" in pixels else {}))
            picture.pts, picture.time_base = round(times[number] * 1000) if times else number, ticks
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        if speaker:
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="stereo")
            block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
            output.mux(speaker.encode(block))
            output.mux(speaker.encode(None))
    return path


def repeated(path: Path, second: Path, times: int) -> Path:
    """A clip that plays another one again and again. Nothing is encoded: it has the other one's packets."""
    with av.open(str(second)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        packets = [(each.pts, each.dts, each.is_keyframe, bytes(each)) for each in source.demux() if each.size]
        base = source.streams.video[0].time_base
        length = round(source.streams.video[0].duration)
        for turn in range(times):
            for pts, dts, is_keyframe, content in packets:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_keyframe
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                output.mux(packet)
    return path


def sound_only(path: Path) -> Path:
    """A file with a second of sound and no picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48_000, layout="stereo")
        block = av.AudioFrame.from_ndarray(click(1, 0.5), format="fltp", layout="stereo")
        block.sample_rate = 48_000
        output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    return path


def turned(path: Path, quarters: int) -> Path:
    """The same MP4 with a display matrix for `quarters` quarter turns clockwise, as phones write it."""
    one, minus, zero = b"\0\1\0\0", b"\xff\xff\0\0", b"\0" * 4
    corner = {1: (zero, one, minus, zero), 2: (minus, zero, zero, minus), 3: (zero, minus, one, zero)}[quarters]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    a, b, c, d = corner
    data[matrix : matrix + 24] = a + b + zero + c + d + zero
    path.write_bytes(data)
    return path


def edited(path: Path, start: float, end: float) -> Path:
    """The same MP4 or MOV with an edit list that shows the seconds from `start` to `end` only, as phones trim."""
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(b"elst", at + 1)) > 0:
        (scale,) = struct.unpack_from(">I", data, data.index(b"mdhd", at) + 16)
        media_time = struct.unpack_from(">i", data, at + 16)[0] + round(start * scale)
        struct.pack_into(">Ii", data, at + 12, round((end - start) * 1000), media_time)
    path.write_bytes(data)
    return path
