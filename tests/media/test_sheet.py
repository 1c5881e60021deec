"""The sheet of variations shows each clip in a row of its own, from first frame to last."""

from __future__ import annotations

import clips
import numpy as np
import pytest
import torch
from atelier.media.sheet import GAP, LABEL, contact_sheet, of_file


def clip(first: float, last: float, count: int = 9, height: int = 32, width: int = 64) -> torch.Tensor:
    """Grey frames [F, H, W, 3] from one lightness to another."""
    return torch.linspace(first, last, count).view(-1, 1, 1, 1).expand(-1, height, width, 3)


def at(sheet: torch.Tensor, row: int, column: int) -> float:
    """The middle of a frame, where rows are 16 and frames 32 pixels."""
    return float(sheet[0, GAP + row * (16 + GAP) + 8, LABEL + column * (32 + GAP) + 16, 0])


def test_rows_are_clips_and_columns_their_frames():
    sheet = contact_sheet([clip(0.0, 1.0), clip(1.0, 0.4)], 3, 32)
    assert sheet.shape == (1, 2 * (16 + GAP) + GAP, LABEL + 3 * (32 + GAP), 3)
    assert [round(at(sheet, 0, column), 1) for column in range(3)] == [0.0, 0.5, 1.0]
    assert [round(at(sheet, 1, column), 1) for column in range(3)] == [1.0, 0.7, 0.4]


def test_rows_are_numbered():
    sheet = contact_sheet([clip(0.5, 0.5)] * 2, 1, 32)
    labels = [sheet[0, GAP + row * (16 + GAP) :, :LABEL][:16] for row in range(2)]
    assert all(label.max() > 0.5 for label in labels) and not torch.equal(*labels)


def test_clips_may_differ_in_length_and_size():
    sheet = contact_sheet([clip(0.0, 1.0, count=2), clip(0.0, 1.0, height=64)], 4, 32)
    assert sheet.shape == (1, 16 + 32 + 3 * GAP, LABEL + 4 * (32 + GAP), 3)
    assert [round(at(sheet, 0, column), 1) for column in range(2)] == [0.0, 1.0]


@pytest.mark.parametrize(("frames", "shown", "columns"), [(41, 12, 4), (3, 3, 3), (1, 1, 1)])
def test_a_file_from_its_first_frame_to_its_last(tmp_path, frames, shown, columns):
    path = clips.make(tmp_path / "clip.mp4", clip(0.1, 0.9, frames), 8, options={"crf": "10"})
    pixels = np.asarray(of_file(path, 12, 4, 64, times=True)).astype(int)
    assert pixels.shape[1] == columns * (64 + GAP)
    middles = [pixels[i // 4 * (32 + GAP + LABEL) + 16, i % 4 * (64 + GAP) + 32, 0] for i in range(shown)]
    assert middles == sorted(middles) and abs(middles[0] - 26) < 6
    assert frames == 1 or abs(middles[-1] - 230) < 6


def test_a_turned_file_is_shown_upright(tmp_path):
    path = clips.turned(clips.make(tmp_path / "phone.mp4", clip(0, 1)), 1)
    assert of_file(path, 4, 4, 32, gap=0).size == (4 * 32, 64)
