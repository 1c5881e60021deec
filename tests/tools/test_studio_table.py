"""The studio's table measures what it says, and its document has every row, action and miss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import studio_table
from shots import studio
from studio_rows import films
from studio_rows.rows import ROWS, figure, kept, seam_figures
from studio_rows.tasks import TASKS


def test_a_shape_that_moves_is_as_far_apart_as_it_moved():
    _, frames = studio.source(0, 17)
    assert films.apart(frames, frames) == 0
    assert films.apart(frames, frames.roll(3, dims=1)) == pytest.approx(3, abs=0.2)


def test_frames_come_back_from_a_file(tmp_path):
    _, frames = studio.source(1, 17)
    back = films.frames_of(films.write_clip(tmp_path / "a.mp4", frames, 8))
    assert kept("", back, frames).met
    assert not kept("", back[1:], frames).met  # of another length


def test_a_loop_without_a_seam_is_missed():
    _, frames = studio.source(2, 25)
    there_and_back = [*range(25), *range(23, 0, -1)]
    assert seam_figures("a", frames[there_and_back], frames)[0].met
    assert not seam_figures("a", frames, frames)[0].met


def test_the_document_has_rows_actions_and_misses():
    done = studio_table.Done("Loop", ["press *Loop*", "press *Loop Video*"], [figure("seam", 2.0, 1.5), figure("b", 1)])
    broken = replace(done, name="Blend", figures=[], problem="no button")
    text = studio_table.document(studio_table.Outcome([done, broken], [done]), "Run of today.")
    assert "| Loop | seam | 2.000 | at most 1.5 | **missed** | 2 |\n|  | b | 1 |  |  |  |" in text
    assert "| Blend | **no button** | | | **missed** | 2 |" in text
    assert "1. **Loop** (2): press *Loop*; press *Loop Video*. **Missed**: seam" in text


def test_a_missed_row_says_what_stands_against_it():
    name, why = next(iter(studio_table.AGAINST.items()))
    assert name in {row.name for row in ROWS}
    for value in (1.0, 0.0):
        row = studio_table.Done(name, [], [figure("share", value, 0.8, "", True)])
        text = studio_table.document(studio_table.Outcome([row], []), "Run of today.")
        assert (f"*{name}*: {why}" in text) == (value == 0.0)


def test_an_interrupted_run_goes_on(tmp_path):
    results = studio_table.Results(tmp_path)
    done = studio_table.Done(ROWS[0].name, ["press *Loop*"], [figure("seam", 2.0, 1.5, " s")])
    results.keep(done, {"Loop": [studio.source(0, 17)[1]]})
    results.keep(replace(done, name=ROWS[1].name, problem="no button"), {})
    assert results.of(ROWS[0]) == done and (tmp_path / "loop.png").is_file()
    assert results.of(ROWS[1]) is None
    assert results.outcome.rows == [done] and not results.outcome.whole


def test_names_are_distinct():
    names = [studio_table.named(each.name) for each in (*ROWS, *TASKS)]
    assert len(set(names)) == len(names)
