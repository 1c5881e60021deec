"""The contact sheet shows the frames it should, in order."""

from fractions import Fraction

import av
import numpy as np
import pytest
from contact_sheet import contact_sheet
from PIL import Image


def clip(path, frames: int) -> None:
    """A grey clip that grows lighter from frame to frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for index in range(frames):
            level = 20 + 200 * index // max(1, frames - 1)
            picture = av.VideoFrame.from_ndarray(np.full((32, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.mark.parametrize(("frames", "shown", "columns"), [(41, 12, 4), (3, 3, 3), (1, 1, 1)])
def test_frames_from_the_first_to_the_last(tmp_path, frames, shown, columns):
    clip(tmp_path / "clip.mp4", frames)
    with Image.open(contact_sheet(tmp_path / "clip.mp4", tmp_path / "sheets" / "sheet.png")) as sheet:
        pixels = np.asarray(sheet).astype(int)
    assert pixels.shape[1] == columns * (192 + 6) + 6
    middles = [pixels[6 + i // 4 * (96 + 22) + 48, 6 + i % 4 * 198 + 96, 0] for i in range(shown)]
    assert middles == sorted(middles)
    assert abs(middles[0] - 20) < 6
    assert frames == 1 or abs(middles[-1] - 220) < 6
