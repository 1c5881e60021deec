"""Prompts over time on picture and sound: each window gets the sound of its frames."""

from __future__ import annotations

from dataclasses import replace

import case_ltx2
import comfy.sample
import comfy.samplers
import pytest
import tiny_ltx2
import torch
from atelier.models.bridge import sampling
from atelier.models.bridge.sampling import empty_shot, sample
from atelier.models.bridge.scenes import joined, scenes
from atelier.models.timeline.latent import sound_mask_of, sound_of, video_of, with_mask
from atelier.models.timeline.spans import CUT, SPAN
from case_ltx2 import FPS, SIZE, relative
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced

FRAMES, STEPS = 57, 2
"""Of a clip of 8 latent frames with 59 of sound."""
WORDS = (tiny_ltx2.PROMPT, "footsteps on gravel, a door creaks open")
CHANGE = 33
"""The frame at which the second prompt begins: latent frame 5, sound latent 34."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> case_ltx2.Made:
    made = case_ltx2.made("2.3", tmp_path_factory.mktemp("ltx2"))
    inner = made.model.model
    inner.variant = replace(inner.variant, recipe=replace(inner.variant.recipe, frames=121))  # the longest window
    return made


def shot(made) -> dict:
    return empty_shot(made.opened.variant, (*SIZE, FRAMES), FPS)


def board(made, words=WORDS, cut: bool = False) -> list:
    spans = ((0.0, CHANGE / FPS), (CHANGE / FPS, FRAMES / FPS))
    return [
        [text, {**options, SPAN: span, CUT: cut and n == 1}]
        for n, (line, span) in enumerate(zip(words, spans, strict=True))
        for text, options in made.conditioning(line, shot(made))
    ]


def sigmas(made) -> torch.Tensor:
    return made.opened.family.schedule(made.opened.variant, STEPS, (1, 128, 8, 3, 2))


def sampled(made, positive: list, latent: dict) -> tuple[torch.Tensor, torch.Tensor]:
    negative = made.conditioning(tiny_ltx2.NEGATIVE, latent)
    return sample(made.model, latent, positive, negative, seed=4, sigmas=sigmas(made), guidance=3.0)["samples"].unbind()


def by_hand(made, words: str, parts: dict, known: dict | None = None, **options) -> list[torch.Tensor]:
    """A window, sampled as a clip of its own. parts: stream -> the slice of the clip; known: stream -> its latents."""
    noises = comfy.sample.prepare_noise(shot(made)["samples"], 4).unbind()
    noise = [stream[:, :, part] for stream, part in zip(noises, parts.values(), strict=True)]
    latent, mask = [torch.zeros_like(stream) for stream in noise], [torch.ones_like(stream) for stream in noise]
    for place, finished in enumerate((known or {}).values()):
        latent[place][:, :, : finished.shape[2]], mask[place][:, :, : finished.shape[2]] = finished, 0
    texts = (
        [[text, {**given, **options}] for text, given in made.conditioning(line, {"frame_rate": FPS})]
        for line in (words, tiny_ltx2.NEGATIVE)
    )
    return comfy.sample.sample_custom(
        made.model,
        NestedTensor(noise),
        3.0,
        comfy.samplers.sampler_object("euler"),
        sigmas(made),
        *texts,
        NestedTensor(latent),
        noise_mask=NestedTensor(mask) if known else None,
        seed=4,
    ).unbind()


def test_one_prompt_over_all_is_sampled_at_once(made):
    whole = [[text, {**given, SPAN: (0.0, FRAMES / FPS)}] for text, given in made.conditioning(WORDS[0], shot(made))]
    plain = made.conditioning(WORDS[0], shot(made))
    pairs = zip(sampled(made, whole, shot(made)), sampled(made, plain, shot(made)), strict=True)
    assert [relative(*pair) < 1e-6 for pair in pairs] == [True, True]


def test_each_window_reads_the_sound_of_its_frames(made):
    """The first is a clip of 5 latent frames and 34 of sound. The second reads from latent frame 2 and sound 8 on."""
    video, sound = sampled(made, board(made), shot(made))
    first = by_hand(made, WORDS[0], {"video": slice(0, 5), "sound": slice(0, 34)})
    assert relative(video[:, :, :5], first[0]) < 1e-6 and relative(sound[:, :, :34], first[1]) < 1e-6
    known = {"video": video[:, :, 2:5], "sound": sound[:, :, 8:34]}
    parts = {"video": slice(2, 8), "sound": slice(8, 59)}
    second = by_hand(made, WORDS[1], parts, known, first_frame=1)
    assert relative(video[:, :, 5:], second[0][:, :, 3:]) < 1e-5
    assert relative(sound[:, :, 34:], second[1][:, :, 26:]) < 1e-5


def test_a_window_knows_when_it_begins(made):
    """Its positions are those of the whole clip, moved together with its sound's."""
    network = made.model.model.diffusion_model
    video = torch.zeros(1, 128, 3, 2, 2)
    whole = network.rope.prepare_video_coords(1, 4, 2, 2, "cpu", fps=FPS)
    assert torch.equal(network._places(video, FPS, 1, None), whole[:, :, 4:])


def test_after_a_cut_nothing_of_the_scene_before_is_seen_or_heard(made):
    one, other = (sampled(made, board(made, (words, WORDS[1]), cut=True), shot(made)) for words in (WORDS[0], "noise"))
    assert relative(one[0][:, :, :5], other[0][:, :, :5]) > 1e-3
    assert torch.equal(one[0][:, :, 5:], other[0][:, :, 5:]) and torch.equal(one[1][:, :, 34:], other[1][:, :, 34:])


def test_scenes_sampled_apart_have_the_picture_and_the_sound_of_the_whole_clip(made):
    latent, positive = shot(made), board(made, cut=True)
    texts = positive, made.conditioning(tiny_ltx2.NEGATIVE, latent)
    parts = scenes(made.model, latent, *texts, sigmas(made))
    assert parts == [(0, 5), (5, 8)]
    given = {"seed": 4, "sigmas": sigmas(made), "guidance": 3.0}
    apart = [(only, sampling.sampled(made.model, latent, *texts, only=only, **given)) for only in parts]
    for one, whole in zip(joined(made.model, *texts, apart).unbind(), sampled(made, positive, latent), strict=True):
        assert torch.equal(one, whole)
    assert scenes(made.model, latent, *texts, sigmas(made)[1:]) == [(0, 8)], "its start has the sound of before the cut"


def test_known_sound_stays_in_every_window(made):
    latent = shot(made)
    sound = torch.randn(sound_of(latent["samples"]).shape, generator=torch.Generator().manual_seed(8))
    mask = sound_mask_of(latent)
    mask[:, :, 20:50] = 0
    latent = {**latent, "samples": NestedTensor([video_of(latent["samples"]), sound])}
    latent = with_mask(latent, torch.ones(1, 1, 8, 3, 2), mask)
    video, heard = sampled(made, board(made), latent)
    assert (heard[:, :, 20:50] - sound[:, :, 20:50]).abs().max() < 1e-5
    assert torch.isfinite(video).all() and relative(heard[:, :, :20], sound[:, :, :20]) > 0.1


def test_both_streams_are_reported_whole(made):
    """SamplerCustomAdvanced's second output is what the last report showed."""
    latent = shot(made)
    negative = made.conditioning(tiny_ltx2.NEGATIVE, latent)
    guider = CFGGuider.execute(made.model, board(made), negative, 3.0).args[0]
    arguments = Noise_RandomNoise(4), guider, comfy.samplers.sampler_object("euler"), sigmas(made)
    out, denoised = SamplerCustomAdvanced.execute(*arguments, latent).args
    for pair in zip(out["samples"].unbind(), denoised["samples"].unbind(), strict=True):
        assert pair[0].shape == pair[1].shape and relative(*pair) < 1e-4
