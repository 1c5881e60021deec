"""Writes frames to a file as they arrive: in tagged BT.709, with sound in sync and the graph as tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
import torch

from . import MediaError, embed
from .convert import FULL, to_pixels
from .formats import Format
from .sound import Repairs, Sound
from .unfinished import Numbered, Written, unfinished

BT709, RGB, LIMITED = 1, 0, 1
"""BT.709 primaries, transfer and matrix; the identity matrix; the range 16..235: ITU-T H.273's and FFmpeg's numbers."""
SHORTEST = 3
"""Fewest frames with B-frames on. With one or two frames, x265's packets would get invalid times."""
RATES = (1000, 768_000)
"""Samples per second that are accepted: all that sound cards and instruments use."""
FASTEST_GIF = 50
"""Most frames per second of a GIF. Its clock counts hundredths of a second, and players read a delay of 1 as 10."""


@dataclass(frozen=True)
class Target:
    """How to write a clip: format, frames per second, quality (CRF, 0 = best), bit depth and tags."""

    style: Format
    rate: Fraction
    crf: int = 16
    asked_depth: int = 8
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """The bit depth that is written: the format may not have the one asked for."""
        return self.style.depth(self.asked_depth)

    @property
    def pixels(self) -> str:
        return self.style.pixels[self.depth]

    @property
    def plays(self) -> bool:
        """Whether browsers play the file."""
        return self.depth in self.style.browser


def write(name: Path | Numbered, frames: Iterator[torch.Tensor], target: Target, sound: Sound | None = None) -> Written:
    """Write chunks of frames [f, H, W, 3] in 0..1 to a file, or to a folder for a format of pictures.

    The file appears when it is complete: an error or a cancel, also in `frames`, leaves nothing behind. Sound that is
    longer than the frames is cut. If the pixel format needs even sides, an odd one gets its last line or column twice.
    Raises MediaError if there are no frames, the disk is full or the encoder does not take the size.
    """
    pictures = _pictures(frames, target)
    with unfinished(name, target.style.encoder) as file:
        begin = list(islice(pictures, SHORTEST))
        if not begin:
            raise MediaError("There are no frames to write.")
        kind = _container if target.style.container else _folder
        notes = kind(file.part, begin, chain(begin, pictures), target, sound)
    return Written(file.path, notes)


def _pictures(frames: Iterator[torch.Tensor], target: Target) -> Iterator[av.VideoFrame]:
    """Frames as numbered PyAV frames, 8 or 16 bits per channel."""
    deep = target.depth > 8
    levels, dtype, kind, pixels = (
        (65535, torch.int32, np.uint16, "rgb48le") if deep else (255, torch.uint8, np.uint8, "rgb24")
    )
    number = 0
    for images in frames:
        for image in _even(images) if "42" in target.pixels else images:
            levelled = image[..., :3].float().mul(levels).add_(0.5).clamp_(0, levels).to(dtype)  # rounded
            picture = av.VideoFrame.from_ndarray(levelled.cpu().numpy().astype(kind, copy=False), format=pixels)
            picture.pts, picture.time_base = number, 1 / target.rate
            number += 1
            yield picture


def _even(images: torch.Tensor) -> torch.Tensor:
    """Images [f, H, W, C] with the last line or column repeated if their number is odd, because 4:2:0 halves it."""
    for axis in (1, 2):
        if images.shape[axis] % 2:
            images = torch.cat([images, images.narrow(axis, images.shape[axis] - 1, 1)], dim=axis)
    return images


def _container(
    part: Path, begin: list[av.VideoFrame], pictures: Iterator[av.VideoFrame], target: Target, sound: Sound | None
) -> tuple[str, ...]:
    style, first = target.style, begin[0]
    still = {"bf": "0"} if len(begin) < SHORTEST else {}
    with av.open(str(part), "w", format=style.container, options=dict(style.container_options or {})) as output:
        output.metadata.update(target.tags)
        stream = output.add_stream(style.encoder, rate=target.rate, options=style.options(target.crf) | still)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, target.pixels
        _tag_colours(stream.codec_context, target.pixels)
        if style.tag:
            stream.codec_context.codec_tag = style.tag
        track = _SoundTrack(output, sound, style.sound) if sound and style.sound else None
        convert = to_pixels(first, target.pixels)
        for number, picture in enumerate(pictures, start=1):
            for converted in convert(picture):
                output.mux(stream.encode(converted))
            if track:
                track.write_until(number / target.rate)
        for converted in convert(None):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
        if track:
            track.finish()
    embed.into(part, style.container, target.tags)
    return track.notes if track else ()


def _tag_colours(codec: av.VideoCodecContext, pixels: str) -> None:
    """Tag the colours, so that players do not have to guess them."""
    yuv = pixels.startswith("yuv")
    codec.color_primaries = codec.color_trc = BT709
    codec.colorspace, codec.color_range = (BT709, LIMITED) if yuv else (RGB, FULL)


def _folder(
    part: Path, begin: list[av.VideoFrame], pictures: Iterator[av.VideoFrame], target: Target, sound: Sound | None
) -> tuple[str, ...]:
    """A folder of numbered PNG files, each with the tags."""
    part.mkdir(parents=True)
    first = begin[0]
    convert = to_pixels(first, target.pixels)
    for number, picture in enumerate(pictures, start=1):
        codec = av.CodecContext.create(target.style.encoder, "w")
        codec.width, codec.height, codec.pix_fmt = first.width, first.height, target.pixels
        codec.time_base = 1 / target.rate
        (converted,) = convert(picture)
        data = b"".join(bytes(packet) for packet in (*codec.encode(converted), *codec.encode(None)))
        (part / f"frame_{number:05}.png").write_bytes(embed.in_png(data, target.tags))
    return ()


class _SoundTrack:
    """Sound written in step with the frames, so that neither waits in memory for the other.

    Samples that the encoder cannot take are repaired, or the sound is left out, and `notes` say so: a fault in the
    sound never costs the picture.
    """

    def __init__(self, output: av.container.OutputContainer, sound: Sound, encoder: str) -> None:
        self.output, self.sound = output, sound
        self.repairs, self.refusal = Repairs(), _refusal(sound, encoder)
        self.blocks, self.written = iter(()) if self.refusal else sound.blocks(), 0
        self.rest = np.empty((sound.channels, 0), np.float32)
        self.stream = None
        if not self.refusal:
            self.stream = output.add_stream(encoder, rate=_rate(sound, encoder), layout=sound.layout)

    def write_until(self, seconds: Fraction) -> None:
        """Write sound up to this time, or to its end."""
        while (wanted := round(seconds * self.sound.rate) - self.written) > 0:
            if not self.rest.shape[1]:
                self.rest = next(self.blocks, None)
                if self.rest is None:
                    self.rest = np.empty((self.sound.channels, 0), np.float32)
                    return
            block, self.rest = self.rest[:, :wanted], self.rest[:, wanted:]
            frame = self.sound.frame(self.repairs(block))
            frame.pts, frame.time_base = self.written, Fraction(1, self.sound.rate)
            self.written += block.shape[1]
            self.output.mux(self.stream.encode(frame))

    def finish(self) -> None:
        if self.stream:
            self.output.mux(self.stream.encode(None))

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the artist on the sound that was written, or left out."""
        return (*([self.refusal] if self.refusal else []), *self.repairs.notes)


def _rate(sound: Sound, encoder: str) -> int:
    """The sound's own sample rate if the encoder takes it, else 48 kHz."""
    rates = av.Codec(encoder, "w").audio_rates or [sound.rate]
    return sound.rate if sound.rate in rates else 48_000


def _refusal(sound: Sound, encoder: str) -> str:
    """Why an encoder cannot take a sound; "" if it can. Call it before the file gets a stream for the sound."""
    about = f"its sound is left out: {sound.channels} channels at {sound.rate} Hz"
    if not RATES[0] <= sound.rate <= RATES[1]:
        return f"{about}. Expected: {RATES[0]} to {RATES[1]} Hz"
    codec = av.CodecContext.create(encoder, "w")
    codec.rate, codec.layout, codec.format = _rate(sound, encoder), sound.layout, codec.codec.audio_formats[0]
    try:
        codec.open()
    except (av.error.FFmpegError, ValueError) as error:
        return f"{about} cannot be encoded with {encoder} ({error})"
    return ""
