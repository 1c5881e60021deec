"""Files to frames: which frame is where in time, colours, turned and deep pictures, sound, and broken files."""

from __future__ import annotations

import io
from fractions import Fraction

import clips
import numpy as np
import pytest
import torch
from atelier.media import MediaError, formats, read
from atelier.media.sound import Sound
from atelier.media.write import Target, write


def frames(clip: read.Clip, wanted) -> torch.Tensor:
    return torch.cat(list(read.read(clip, list(wanted))))


def samples(sound: Sound) -> np.ndarray:
    return np.concatenate(list(sound.blocks()), axis=1)


@pytest.fixture(params=["clip.mp4", "clip.webm", "clip.gif", "clip.mkv", "clip.avi"])
def film(request, tmp_path):
    """Sixty numbered frames in a container, with the codec it usually has."""
    codecs = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8"), "mkv": ("ffv1", "yuv420p")}
    codec, pixels = codecs.get(request.param[-4:].lstrip("."), ("libx264", "yuv420p"))
    return clips.make(tmp_path / request.param, clips.numbered(60), 20, codec, pixels, options={})


def test_every_frame_comes_once_in_its_order(film):
    clip = read.of_file(film)
    assert clips.numbers(frames(clip, range(60))) == list(range(60))
    assert (clip.width, clip.height) == (64, 48)
    assert abs(clip.rate - 20) < 0.1 and abs(clip.length - 3) < 0.06


@pytest.mark.parametrize("first,last", [(0, 0), (1, 3), (17, 41), (58, 59)])
def test_reading_begins_anywhere(film, first, last):
    clip = read.of_file(film)
    assert clips.numbers(frames(clip, range(first, last + 1))) == list(range(first, last + 1))


def test_backwards(film, monkeypatch):
    monkeypatch.setattr(read, "BYTES_AT_ONCE", 7 * 64 * 48 * 12)
    clip = read.of_file(film)
    assert clips.numbers(frames(clip, range(40, 4, -1))) == list(range(40, 4, -1))


def test_a_file_in_memory_is_read_like_one_on_disk(tmp_path):
    path = clips.make(tmp_path / "clip.mp4", clips.numbered(10))
    clip = read.of_file(io.BytesIO(path.read_bytes()))
    assert clips.numbers(frames(clip, range(3, 9))) == list(range(3, 9))
    assert clips.numbers(frames(clip, range(10))) == list(range(10))


@pytest.mark.parametrize(
    "rate,expected",
    [
        (20, list(range(20))),
        (10, list(range(0, 20, 2))),
        (40, [n // 2 for n in range(40)]),
        (15, [0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 19]),
    ],
)
def test_another_frame_rate_keeps_the_speed(rate, expected):
    clip = read.of_images(clips.numbered(20), Fraction(20))
    got = read.frames_at(clip, Fraction(rate))
    assert len(got) == len(expected)
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) <= (0 if rate != 15 else 1)
    assert all(abs(n / 20 - place / rate) <= 0.5 / 20 + 1e-6 for place, n in enumerate(got)) or rate == 40


def test_a_changing_frame_rate_is_followed_by_its_times(tmp_path):
    """Ten frames a second, then one that stays for a second, then ten again."""
    times = [n / 10 for n in range(10)] + [1.0] + [2.0 + n / 10 for n in range(10)]
    clip = read.of_file(clips.make(tmp_path / "phone.mp4", clips.numbered(21), 10, times=times))
    assert any("frame rate changes" in note for note in clip.notes)
    got = clips.numbers(frames(clip, read.frames_at(clip, Fraction(10))))
    assert got[:10] == list(range(10)) and got[10:20] == [10] * 10 and got[20:30] == list(range(11, 21))


def test_a_part_by_seconds(tmp_path):
    clip = read.of_file(clips.make(tmp_path / "clip.mp4", clips.numbered(48), 24))
    assert read.frames_at(clip, Fraction(24), 0.5, 1.0) == list(range(12, 24))
    assert read.frames_at(clip, Fraction(24), 1.5, 99) == list(range(36, 48))
    with pytest.raises(MediaError, match="2.00 s long"):
        read.frames_at(clip, Fraction(24), 2.0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_film_is_turned(tmp_path, quarters):
    image = torch.zeros(1, 32, 64, 3)
    image[:, :16, :32, 0] = 1  # red: upper left
    path = clips.turned(clips.make(tmp_path / "phone.mp4", image.repeat(3, 1, 1, 1)), quarters)
    clip = read.of_file(path)
    shown = frames(clip, [0])[0]
    assert (clip.height, clip.width) == tuple(shown.shape[:2])
    assert (shown - torch.rot90(image[0], -quarters)).abs().mean() < 0.03


def test_transparent_parts_are_black_and_that_is_said(tmp_path):
    image = torch.ones(2, 32, 32, 4)
    image[:, :, 16:, 3] = 0
    clip = read.of_file(clips.make(tmp_path / "clip.mkv", image, codec="ffv1", pixels="bgra", options={}))
    shown = frames(clip, [0])[0]
    assert shown[:, :16].min() == 1 and shown[:, 16:].max() == 0
    assert clip.notes == ("its transparent parts are black",)


def test_wide_pixels_are_made_square(tmp_path):
    path = clips.make(tmp_path / "dv.mp4", clips.numbered(3, 48, 48), options={"x264-params": "sar=4/3"})
    clip = read.of_file(path)
    assert (clip.width, clip.height) == (64, 48)
    assert frames(clip, [0]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("matrix,range_,pixels", [(1, 1, "yuv420p"), (5, 1, "yuv420p"), (1, 2, "yuvj420p")])
def test_colours_are_read_by_what_the_file_says(tmp_path, matrix, range_, pixels):
    chart = clips.chart().repeat(2, 1, 1, 1)
    path = clips.make(tmp_path / "c.mp4", chart, pixels=pixels, colorspace=matrix, color_range=range_)
    assert (frames(read.of_file(path), [0, 1]) - chart).abs().mean() * 255 < 3  # a wrong matrix or range: above 5


def pq(nits: float) -> float:
    """The PQ signal of a luminance: the inverse of SMPTE ST 2084's curve."""
    y = (nits / 1e4) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def test_hdr_is_brought_to_bt709(tmp_path):
    """A tenth of diffuse white looks as in SDR, diffuse white is bright, a highlight brighter, nothing is clipped."""
    nits = [0.0, 20.3, 203.0, 1000.0]
    image = torch.tensor([pq(n) for n in nits]).repeat_interleave(32)[None, None, :, None].expand(3, 64, -1, 3)
    tags = dict(colorspace=9, color_primaries=9, color_trc=16, color_range=1)
    options = {"crf": "4", "x265-params": "log-level=error"}
    path = clips.make(tmp_path / "hdr.mp4", image, codec="libx265", pixels="yuv420p10le", options=options, **tags)
    clip = read.of_file(path)
    assert clip.notes == ("HDR, converted to BT.709",)
    black, tenth, white, highlight = frames(clip, [1])[0, 32, 16::32].mean(-1).tolist()
    assert black < 0.02 and abs(tenth - 0.1 ** (1 / 2.4)) < 0.03
    assert 0.85 < white < 0.92 and white + 0.05 < highlight <= 1


@pytest.mark.parametrize("fit", read.FITS)
def test_another_shape(fit):
    images = torch.zeros(2, 40, 80, 3)
    images[:, :, :40] = 1
    made = read.fitted(images, 40, 40, fit)
    assert made.shape == (2, 40, 40, 3)
    if fit == "pad":
        assert made[:, :10].max() == 0 and made[:, 15:25, :19].min() > 0.9
    else:
        assert made[:, :, :18].min() > 0.9 and made[:, :, 22:].max() < 0.1


def test_sound_is_in_step(tmp_path):
    path = clips.make(tmp_path / "clip.mp4", clips.numbered(72), 24, sound=clips.click(3, 1.5))
    clip = read.of_file(path)
    assert abs(clips.clicked(samples(clip.sound(0, 3)), 48_000) - 1.5) < 0.03
    assert abs(clips.clicked(samples(clip.sound(1.0, 2.0)), 48_000) - 0.5) < 0.03
    backwards = samples(clip.sound(1.0, 2.0).reversed())
    assert backwards.shape[1] == 48_000 and abs(clips.clicked(backwards, 48_000) - 0.4) < 0.03


def test_images_are_a_clip_too():
    clip = read.of_images(clips.numbered(9), Fraction(3))
    assert (clip.length, clip.sound(0, 3)) == (3.0, None)
    assert clips.numbers(frames(clip, [8, 5, 2])) == [8, 5, 2]
    with pytest.raises(MediaError, match="no frames"):
        read.of_images(torch.zeros(0, 8, 8, 3), Fraction(3))


@pytest.mark.parametrize("in_memory", [False, True])
def test_animated_webp_which_ffmpeg_does_not_read(tmp_path, in_memory):
    style = formats.named("webp (animated)")
    path = write(tmp_path / "clip.webp", iter([clips.numbered(20)]), Target(style, Fraction(10), 0)).path
    clip = read.of_file(io.BytesIO(path.read_bytes()) if in_memory else path)
    assert (clip.width, clip.height, clip.rate, len(clip.times)) == (64, 48, 10, 20)
    assert abs(clip.length - 2) < 0.01
    assert clips.numbers(frames(clip, range(20))) == list(range(20))
    assert clips.numbers(frames(clip, [7, 12])) == [7, 12]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="clip.webp cannot be read as an animated WebP"):
        read.of_file(path)


# ------------------------------------------------------------------------------------------------ broken files


def test_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match=r"empty.mp4 cannot be read.*empty \(0 bytes\)"):
        read.of_file(tmp_path / "empty.mp4")


def test_missing(tmp_path):
    with pytest.raises(MediaError, match="no such file"):
        read.of_file(tmp_path / "gone.mp4")


def test_not_a_video(tmp_path):
    (tmp_path / "notes.mp4").write_text("not a video\n" * 1000)
    with pytest.raises(MediaError, match="notes.mp4 cannot be read as a video"):
        read.of_file(tmp_path / "notes.mp4")


def test_sound_only(tmp_path):
    with pytest.raises(MediaError, match="sound, but no picture"):
        read.of_file(clips.sound_only(tmp_path / "song.m4a"))


def test_a_codec_that_this_build_lacks(tmp_path):
    path = clips.make(tmp_path / "secret.mp4", clips.numbered(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"qqqq"))
    with pytest.raises(MediaError, match="secret.mp4 has a codec that this build of PyAV cannot decode. Convert"):
        read.of_file(path)


def test_no_frames(tmp_path):
    with pytest.raises(MediaError, match="no frames|cannot be read"):
        read.of_file(clips.make(tmp_path / "none.mkv", torch.zeros(0, 32, 32, 3)))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_cut_off_half_way(tmp_path, name):
    """An MP4 without its end has no index; of an MKV what is there is read, or its end is missed."""
    path = clips.make(tmp_path / name, torch.rand(48, 48, 64, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if name == "clip.mp4":
        with pytest.raises(MediaError, match="damaged or incomplete"):
            read.of_file(path)
    else:
        clip = read.of_file(path)
        assert 5 < len(clip.times) < 48
        assert len(frames(clip, range(len(clip.times)))) == len(clip.times)


def test_damaged_in_the_middle_ends_in_a_sentence_or_in_frames(tmp_path):
    path = clips.make(tmp_path / "clip.mkv", torch.rand(48, 48, 64, 3), codec="ffv1", options={"slicecrc": "1"})
    data = bytearray(path.read_bytes())
    data[len(data) // 3 :] = np.random.default_rng(0).bytes(len(data) - len(data) // 3)
    path.write_bytes(data)
    try:
        clip = read.of_file(path)
        assert len(frames(clip, range(len(clip.times)))) == len(clip.times)
    except MediaError as error:
        assert "clip.mkv" in str(error)
