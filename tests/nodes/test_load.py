"""Load Video Model's notice: the authors' recipe and sampler, and what had to be assumed."""

from __future__ import annotations

from dataclasses import replace

import tiny
from atelier.models.families.ltx_video import family as ltx_video
from atelier.models.families.ltx_video.versions import GUIDANCE_13B
from atelier.models.weights.checkpoint import open_checkpoint
from atelier.nodes.load import advice


def variant(path):
    return ltx_video.recognise(open_checkpoint(tiny.single_file(path, None, "")))


def test_a_sampler_that_is_not_euler_and_what_was_assumed_are_said(tmp_path):
    told = advice(variant(tmp_path / "ltxv-2b-0.9.6-distilled.safetensors"))
    assert "LTX Video 2B 0.9.6 distilled" in told and "8 steps, guidance 1" in told
    assert "the sampler euler_ancestral" in told and "assumed" not in told
    told = advice(variant(tmp_path / "mine.safetensors"))
    assert "0.9.5 or later is assumed" in told and "sampler" not in told and "guidance 3" in told


def test_guidance_that_changes_by_level_is_said(tmp_path):
    told = advice(replace(variant(tmp_path / "mine.safetensors"), guidance=GUIDANCE_13B))
    assert "guidance 1 to 8, step by step" in told
