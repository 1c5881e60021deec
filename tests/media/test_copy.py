"""A clip saved as it is: every frame at its time, turned and coloured as before, sound in step, its graph inside."""

from __future__ import annotations

import io
from pathlib import Path

import av
import clips
import films
import numpy as np
import pytest
import torch
from atelier.media import read
from atelier.media.copy import BYTE_FOR_BYTE, copy

EXACT = ("trimmed.mp4", "trimmed.mov", "animated.webp")
"""Copied byte for byte: FFmpeg writes no edit list that ends early, and no WebP of a stream."""


def heard(clip: read.Clip) -> float | None:
    sound = clip.sound(0, clip.length)
    return sound and clips.clicked(np.concatenate(list(sound.blocks()), axis=1), sound.rate)


def is_the_same(source: Path, made: Path) -> None:
    one, two = read.of_file(source), read.of_file(made)
    assert (one.width, one.height, len(one.times)) == (two.width, two.height, len(two.times))
    assert max(abs(a - b) for a, b in zip(one.times, two.times, strict=True)) <= 0.002
    frames = [torch.cat(list(read.read(clip, range(len(clip.times))))) for clip in (one, two)]
    assert torch.equal(*frames)
    assert heard(one) == pytest.approx(heard(two), abs=0.001)


@pytest.mark.parametrize("name", films.FILMS)
def test_every_frame_and_the_sound_stay_where_they_are(tmp_path, name):
    source = films.FILMS[name].file(tmp_path / name)
    made = copy(source, tmp_path / f"copy{source.suffix}", {"prompt": "{}"})
    assert made.notes == ((BYTE_FOR_BYTE,) if name in EXACT else ())
    is_the_same(source, made.path)


@pytest.mark.parametrize("name", ["h264.mkv", "hevc.mkv"])
def test_matroska_with_frames_out_of_order_has_packets_without_a_decoding_time(tmp_path, name):
    """What this file is about: if FFmpeg gave them one, the test above would show nothing."""
    with av.open(str(films.FILMS[name].file(tmp_path / name))) as container:
        assert any(packet.size and packet.dts is None for packet in container.demux(video=0))


@pytest.mark.parametrize("name", ["phone.mp4", "phone.mov"])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_phone_s_clip_stays_upright_and_cut(tmp_path, name, quarters):
    source = clips.make(tmp_path / name, clips.numbered(48, 64, 48), sound=clips.click(2, 1.0), **films.HEVC)
    if quarters:
        clips.turned(source, quarters)
    clips.edited(source, 0.5, 1.5)
    assert len(read.of_file(source).times) == 24
    made = copy(source, tmp_path / f"copy{source.suffix}", {})
    is_the_same(source, made.path)


def test_a_container_that_cannot_be_written_is_copied_byte_for_byte_and_that_is_said(tmp_path, monkeypatch):
    source = films.FILMS["h264.mkv"].file(tmp_path / "h264.mkv")
    made = copy(source, tmp_path / "copy.gif", {"prompt": "{}"})  # no GIF holds H.264
    assert made.notes == (BYTE_FOR_BYTE,)
    assert made.path.read_bytes() == source.read_bytes()
    made = copy(io.BytesIO(source.read_bytes()), tmp_path / "again.gif", {})
    assert made.path.read_bytes() == source.read_bytes()


def test_subtitles_and_a_second_sound_come_along(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=48_000, layout="stereo") for _ in range(2)]
        picture = output.add_stream("ffv1", rate=24)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "bgr0"
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts = number
            output.mux(picture.encode(frame.reformat(format="bgr0")))
        output.mux(picture.encode(None))
        for stream in streams:
            block = av.AudioFrame.from_ndarray(clips.click(1, 0.5), format="fltp", layout="stereo")
            block.sample_rate = 48_000
            output.mux(stream.encode(block))
            output.mux(stream.encode(None))
    made = copy(tmp_path / "two.mkv", tmp_path / "copy.mkv", {})
    with av.open(str(made.path)) as container:
        assert (len(container.streams.audio), len(container.streams.video)) == (2, 1)
    assert made.notes == ()
