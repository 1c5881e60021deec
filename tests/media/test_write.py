"""Frames to files: what comes out again, what the file says of itself, and that it is whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
import torch
from atelier.media import MediaError, formats, read
from atelier.media.copy import copy
from atelier.media.sound import of_waveform
from atelier.media.write import Target, write
from PIL import Image

TAGS = {"prompt": '{"1": {"class_type": "X"}}', "workflow": '{"nodes": ["\\u00e9"]}'}
EVERY = [(name, depth) for name in formats.available() for depth in formats.named(name).depths]
FILMS = [(name, depth) for name, depth in EVERY if name in formats.VIDEO]


def target(name: str, depth: int = 8, rate: int = 24, crf: int = 10) -> Target:
    return Target(formats.named(name), Fraction(rate), crf, depth, TAGS)


def written(folder: Path, frames: torch.Tensor, target: Target, sound=None) -> Path:
    path = folder / f"clip{target.style.suffix}"
    write(path, iter(frames.split(7)), target, sound)
    return path


def seen(path: Path) -> torch.Tensor:
    """All frames of a file, by PyAV alone, as a player shows them that goes by the file's own colour tags."""
    with av.open(str(path)) as container:
        pictures = []
        for frame in container.decode(video=0):
            yuv = frame.format.name.startswith("yuv")
            assert not yuv or (frame.colorspace, frame.color_range) == (1, 1)
            given = dict(src_colorspace=1, src_color_range=1, dst_color_range=2) if yuv else {}
            deep = max(part.bits for part in frame.format.components) > 8
            shown = frame.reformat(format="rgb48le" if deep else "rgb24", **given).to_ndarray()
            pictures.append(torch.from_numpy(shown.astype(np.float32) / (65535 if deep else 255)))
    return torch.stack(pictures)


def test_the_usual_formats_are_there():
    assert {"mp4 (H.264)", "mp4 (H.265)", "mp4 (AV1)", "webm (VP9)", "mov (ProRes 422 HQ)"} <= set(formats.available())


@pytest.mark.parametrize("name,depth", FILMS)
@pytest.mark.parametrize("crf", [0, 10])
def test_colours_come_back(tmp_path, name, depth, crf):
    frames = clips.chart().repeat(3, 1, 1, 1)
    path = written(tmp_path, frames, target(name, depth, crf=crf))
    assert (seen(path) - frames).abs().mean() * 255 < 2
    clip = read.of_file(path)
    ours = torch.cat(list(read.read(clip, range(3))))
    assert (ours - frames).abs().mean() * 255 < 2


@pytest.mark.parametrize("name,depth", FILMS)
def test_the_file_says_what_it_is(tmp_path, name, depth):
    sound = of_waveform(torch.from_numpy(clips.click(3, 0.5)), 48_000)
    path = written(tmp_path, clips.numbered(30, 66, 64), target(name, depth), sound)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        codec = video.codec_context
        yuv = codec.pix_fmt.startswith("yuv")
        assert (codec.color_primaries, codec.color_trc) == (1, 1)
        assert (codec.colorspace, codec.color_range) == ((1, 1) if yuv else (0, 2))
        assert max(part.bits for part in codec.format.components) == depth
        assert (video.width, video.height) == (66, 64) and abs(video.average_rate - 24) < 0.1
        assert {key.lower(): value for key, value in container.metadata.items()}.items() >= TAGS.items()
        heard = sum(frame.samples for frame in container.decode(audio)) / audio.codec_context.sample_rate
    assert abs(heard - 30 / 24) < 0.03
    assert clips.numbers(seen(path)) == list(range(30))


@pytest.mark.parametrize("name,depth", EVERY)
def test_a_clip_may_be_one_frame_or_two(tmp_path, name, depth):
    for count in (1, 2):
        for attempt in range(5):  # x265 fails now and then
            path = tmp_path / f"{count}-{attempt}"
            write(path, iter([clips.numbered(count, 64, 64)]), target(name, depth))
            if name in formats.VIDEO:
                assert len(seen(path)) == count


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (33, 17)])
def test_an_odd_side_is_made_even_by_its_last_line_once_more(tmp_path, size):
    frames = torch.linspace(0, 1, size[0])[None, None, :, None].expand(3, size[1], -1, 3)
    made = seen(written(tmp_path, frames, target("mp4 (H.264)", crf=4)))
    assert made.shape[1:3] == (size[1] + size[1] % 2, size[0] + size[0] % 2)
    assert (made[:, : size[1], : size[0]] - frames).abs().mean() * 255 < 3
    lossless = seen(written(tmp_path, frames, target("mkv (FFV1, lossless)")))
    assert lossless.shape[1:3] == (size[1], size[0])


def test_lossless_is_lossless(tmp_path):
    frames = torch.rand(5, 48, 64, 3).mul(255).round() / 255
    made = seen(written(tmp_path, frames, target("mkv (FFV1, lossless)")))
    assert torch.equal((made * 255).round(), (frames * 255).round())


def test_ten_bits_are_more_than_eight(tmp_path):
    frames = torch.linspace(0.2, 0.4, 256)[None, None, :, None].expand(2, 32, -1, 3)
    steps = {}
    for depth in (8, 10):
        path = written(tmp_path, frames, target("mp4 (H.265)", depth, crf=2))
        clip = read.of_file(path)
        steps[depth] = len(next(read.read(clip, [0]))[0, 16, :, 1].unique())
    assert steps[10] > 2 * steps[8]


def test_gif_keeps_its_frames_and_carries_the_graph(tmp_path):
    path = written(tmp_path, clips.numbered(20), target("gif", rate=20))
    clip = read.of_file(path)
    assert clips.numbers(torch.cat(list(read.read(clip, range(20))))) == list(range(20))
    assert abs(clip.length - 1) < 0.06
    with av.open(str(path)) as container:
        assert json.loads(container.metadata["comment"]) == TAGS
    with Image.open(path) as image:
        assert image.n_frames == 20 and image.info["loop"] == 0


def test_webp_keeps_its_frames_and_carries_the_graph_as_comfyui_reads_it(tmp_path):
    path = written(tmp_path, clips.numbered(20), target("webp (animated)", crf=0))
    with Image.open(path) as image:
        fields = dict(text.split(":", 1) for text in (str(value) for value in image.getexif().values()))
        pictures = []
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(torch.from_numpy(np.array(image.convert("RGB"))).float() / 255)
    assert fields == TAGS
    assert clips.numbers(torch.stack(pictures)) == list(range(20))


@pytest.mark.parametrize("depth", [8, 10])
def test_png_pictures_are_exact_and_each_carries_the_graph(tmp_path, depth):
    frames = torch.rand(3, 17, 31, 3)
    folder = written(tmp_path, frames, target("png (folder of pictures)", depth))
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"frame_{n:05}.png" for n in (1, 2, 3)]
    for file, frame in zip(files, frames, strict=True):
        with Image.open(file) as image:
            assert image.text == TAGS
        assert (next(read.read(read.of_file(file), [0]))[0] - frame).abs().max() <= 0.51 / (
            255 if depth == 8 else 65535
        )


def test_nothing_is_left_of_a_clip_that_was_stopped(tmp_path):
    def stopped():
        yield clips.numbered(40, 64, 64)
        raise InterruptedError("cancelled")

    for name in formats.available():
        with pytest.raises(InterruptedError):
            write(tmp_path / "clip", stopped(), target(name))
        assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_new_one_fails(tmp_path):
    path = written(tmp_path, clips.numbered(3), target("mp4 (H.264)"))
    before = path.read_bytes()
    with pytest.raises(MediaError, match="no frames"):
        write(path, iter(()), target("mp4 (H.264)"))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        *("mp4 (H.264)", "png (folder of pictures)"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mkv (FFV1, lossless)", "gif")),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, name):
    """The process may write no file beyond 20 kB: what a full disk is to it."""
    script = (
        "import sys, resource, conftest, torch; from fractions import Fraction; from pathlib import Path\n"
        "from atelier.media import MediaError, formats; from atelier.media.write import Target, write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "chunks = (torch.rand(4, 128, 128, 3) for _ in range(10))\n"
        "try: write(Path(sys.argv[1]), chunks, Target(formats.named(sys.argv[2]), Fraction(24), 4))\n"
        "except MediaError as error: print(error)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "clip"), name]
    run = subprocess.run(arguments, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert "There is no room for clip" in run.stdout, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_not_there_names_those_that_are():
    with pytest.raises(MediaError, match=r"cannot write 'mp4 \(H.267\)'.*mp4 \(H.264\)"):
        formats.named("mp4 (H.267)")


def test_a_copy_has_the_same_packets_and_the_tags_beside_its_own(tmp_path):
    sound = of_waveform(torch.from_numpy(clips.click(1, 0.2)), 48_000)
    path = written(tmp_path, clips.numbered(24), target("mp4 (H.264)"), sound)
    copy(path, tmp_path / "copy.mp4", {"workflow": "new"})

    def packets(file: Path) -> list[tuple]:
        with av.open(str(file)) as container:
            assert container.metadata["prompt"] == TAGS["prompt"]
            found = [packet for packet in container.demux() if packet.size]
            return [(packet.stream.type, packet.pts * packet.time_base, bytes(packet)) for packet in found]

    assert packets(path) == packets(tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert container.metadata["workflow"] == "new"
