"""The description of a model before it is loaded, for all families."""

from __future__ import annotations

import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
from atelier.models.loading.describe import about

TEXT_ALONE = "was trained on text alone: known frames are re-noised"


OF_SOME = ("control", "sound", "high_quality")
"""Abilities that only some variants have, whatever known frames they were trained on."""


def abilities(path) -> dict:
    """Kind of shot -> whether it is possible, and the end of its note."""
    told = about(path)
    return {
        kind: (able["possible"], able["note"].removeprefix(told["name"]).strip())
        for kind, able in told["abilities"].items()
    }


def test_ltx_was_trained_for_everything_known(tmp_path):
    told = about(tiny.folder(tmp_path / "ltx"))
    can = abilities(tmp_path / "ltx")
    assert not any(can.pop(kind)[0] for kind in OF_SOME) and set(can.values()) == {(True, "")}
    assert (told["family"], told["sides"], told["frames"]) == ("LTX Video", 32, 8)
    assert told["width"] % 32 == 0 and told["num_frames"] % 8 == 1 and told["fps"] > 0 < told["num_inference_steps"]


@pytest.mark.parametrize("name,able", [("ltxv-2b-0.9.8-distilled", True), ("ltxv-2b-0.9.6-distilled-04-25", False)])
def test_high_quality_is_the_second_pass_that_was_published(tmp_path, name, able):
    possible, note = abilities(tiny.folder(tmp_path / name, "0.9.5"))["high_quality"]
    assert possible == able and (able or "no second pass" in note)


@pytest.mark.parametrize("folder", [lambda path: tiny_cogvideox.folder(path, "2B"), tiny_mochi.folder])
def test_models_trained_on_text_alone_say_so(tmp_path, folder):
    can = abilities(folder(tmp_path / "model"))
    assert can.pop("edit") == (True, "") and not any(can.pop(kind)[0] for kind in OF_SOME)
    assert set(can.values()) == {(True, TEXT_ALONE)}


def test_cogvideox_i2v_knows_first_frames(tmp_path):
    can = abilities(tiny_cogvideox.folder(tmp_path / "model", "5B I2V"))
    assert can["first_frame"] == (True, "") and can["last_frame"][1].startswith("was trained with a known first frame")


def test_pyramid_flow_only_goes_forward(tmp_path):
    can = abilities(tiny_pyramid.folder(tmp_path / "model", "miniflux"))
    assert can["first_frame"] == can["forward"] == (True, "")
    assert [can[kind][0] for kind in ("last_frame", "backward", "loop", "edit")] == [False] * 4
