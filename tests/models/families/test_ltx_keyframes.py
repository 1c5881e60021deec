"""Keyframes of LTX Video 0.9.5 and later, through the nodes' way into a LATENT, against LTXConditionPipeline."""

from __future__ import annotations

import comfy.samplers
import diffusers.pipelines.ltx.pipeline_ltx_condition as condition
import pytest
import reference
import torch
from atelier.editing.placing import place_images
from atelier.editing.storyboarding import put_on
from atelier.models.bridge.sampling import sample
from atelier.models.bridge.wrappers.guides import GUIDE_SEED
from atelier.models.bridge.wrappers.known_frames import extra_noise
from atelier.models.timeline import storyboard
from atelier.models.timeline.latent import KEYFRAMES, mask_of
from atelier.models.timeline.spans import CUT, SPAN
from atelier.nodes import latent as nodes
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustom, SamplerCustomAdvanced
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from reference import FPS, relative, to_pil

SEED = 21
# (images, frame, strength) of each condition. Clips begin at a multiple of 8.
CASES = {
    "an image in the middle": [(1, 16, 1.0)],
    "an image in part": [(1, 13, 0.6)],
    "a clip in part": [(9, 16, 0.6)],
    "two": [(1, 0, 1.0), (1, 20, 0.6)],
    "three": [(1, 0, 1.0), (17, 8, 1.0), (1, 32, 0.6)],
}


class Shot(reference.LTX):
    size = (96, 64, 33)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Shot("ltx-2b-0.9.5", tmp_path_factory.mktemp("keyframes"))


def placed(case, conditions) -> dict:
    latent = case.empty()
    for number, (count, frame, strength) in enumerate(conditions):
        start = -(-frame // 8) + (count > 1)
        latent, _ = place_images(case.folder.vae, latent, case.images(count + number)[:count], start, frame, strength)
    return latent


def pipelines(case, conditions, monkeypatch) -> torch.Tensor:
    """The pipeline's clip. Its keyframes in part are mixed with the noise that ours are mixed with."""
    given = []
    for number, (count, frame, strength) in enumerate(conditions):
        pictures = [to_pil(image) for image in case.images(count + number)[:count]]
        content = dict(image=pictures[0]) if count == 1 else dict(video=pictures)
        given.append(LTXVideoCondition(frame_index=frame, strength=strength, **content))
    noise = torch.randn(case.empty()["samples"].shape, generator=torch.manual_seed(SEED))
    beside = sum(min(2, 1 + (count - 1) // 8) for count, frame, _ in conditions if frame)
    drawn = [noise, *extra_noise(noise, beside, SEED ^ GUIDE_SEED).split(1, dim=2)]

    def draw(shape, **_):
        frames = [drawn.pop(0) for _ in range(1 if shape == noise.shape else shape[2])]
        return torch.cat(frames, dim=2)

    monkeypatch.setattr(condition, "randn_tensor", draw)
    return case.pipe(
        **case.common(),
        **case.texts(),
        conditions=given,
        image_cond_noise_scale=0.0,
        frame_rate=FPS,
        output_type="latent",
    ).frames


@pytest.mark.parametrize("name", CASES)
def test_keyframes_equal_the_pipelines(case, monkeypatch, name):
    made = case.folder.sampled(placed(case, CASES[name]), seed=SEED)
    theirs = pipelines(case, CASES[name], monkeypatch)
    assert made.shape == theirs.shape and relative(made, theirs) <= 1e-5


@pytest.mark.parametrize("way", ["sampler", "guider"])
def test_cores_samplers_read_the_same_keyframes(case, way):
    """KSampler and SamplerCustomAdvanced hand on samples and mask alone."""
    latent = placed(case, CASES["three"])
    sigmas, euler = torch.tensor([1.0, 0.7, 0.0]), comfy.samplers.sampler_object("euler")
    texts = [case.folder.conditioning(text, frame_rate=FPS) for text in (reference.PROMPT, reference.NEGATIVE)]
    ours = sample(case.folder.model, latent, *texts, seed=SEED, sigmas=sigmas, guidance=3.0)["samples"]
    if way == "sampler":
        theirs = SamplerCustom.execute(case.folder.model, True, SEED, 3.0, *texts, euler, sigmas, latent).result[0][
            "samples"
        ]
    else:
        guider = comfy.samplers.CFGGuider(case.folder.model)
        guider.set_conds(*texts)
        guider.set_cfg(3.0)
        theirs = SamplerCustomAdvanced.execute(Noise_RandomNoise(SEED), guider, euler, sigmas, latent).result[0][
            "samples"
        ]
    assert relative(ours, theirs) <= 1e-6
    in_place = {**latent, "samples": latent["samples"].clone()}
    other = SamplerCustom.execute(case.folder.model, True, SEED, 3.0, *texts, euler, sigmas, in_place).result[0]
    assert relative(other["samples"], ours) > 1e-3


def test_prompt_relay_beside_keyframes(case):
    """Cards of one pass, each read by its own frames, with a picture beside them: both are in effect."""

    def made(words: str, images: torch.Tensor | None) -> torch.Tensor:
        latent = case.empty() if images is None else place_images(case.folder.vae, case.empty(), images, 3, 20, 1.0)[0]
        board = storyboard.read(f"0s: a red circle moving left\n0.8s: {words}")
        cards = put_on(latent, board, case.folder.clip, case.folder.vae, "", "none", None, True)
        inputs = dict(seed=3, sigmas=torch.tensor([1.0, 0.7, 0.0]), guidance=3.0)
        return sample(case.folder.model, cards.latent, cards.positive, cards.negative, **inputs)["samples"]

    one = made("a blue square", case.images(1))
    assert relative(one, made("a blue square", None)) > 1e-4
    assert relative(one, made("a blue square", case.images(2)[1:])) > 1e-4
    other = made("the sea at night under a storm", case.images(1))
    assert relative(one[:, :, 3:], other[:, :, 3:]) > relative(one[:, :, :2], other[:, :, :2])


def test_a_time_after_the_end_is_said(case, monkeypatch):
    said = []
    monkeypatch.setattr(nodes, "show", lambda _, text: said.append(text))
    for time in (99.0, 32 / FPS):
        nodes.PlaceFrames.execute(case.folder.vae, case.empty(), case.images(1), "at time", time, 1.0)
    assert "99 s is after the end, 1.33 s" in said[0] and "after the end" not in said[1]


def test_a_window_of_a_storyboard_leads_up_to_the_next_cards_image(case):
    """The image is at the second card; the first card's frames are made with it beside them."""

    def made(images: torch.Tensor) -> torch.Tensor:
        latent, _ = place_images(case.folder.vae, case.empty(), images, 3, 17, 1.0)
        seconds = 17 / FPS
        spans = [(0.0, seconds), (seconds, 33 / FPS)]
        positive = [
            [text, {**options, SPAN: span, CUT: False}]
            for span in spans
            for text, options in case.folder.conditioning(reference.PROMPT, frame_rate=FPS)
        ]
        negative = case.folder.conditioning(reference.NEGATIVE, frame_rate=FPS)
        sigmas = torch.tensor([1.0, 0.8, 0.0])
        sampled = sample(case.folder.model, latent, positive, negative, seed=3, sigmas=sigmas, guidance=3.0)
        assert mask_of(sampled).eq(1).all() and len(sampled[KEYFRAMES]) == 1
        return sampled["samples"]

    one, other = made(case.images(1)), made(case.images(2)[1:])
    assert relative(one[:, :, :3], other[:, :, :3]) > 1e-4


def test_a_second_pass_reads_the_same_keyframes(case):
    """A LATENT that Sample Video made carries them on."""
    first = placed(case, [(1, 16, 1.0)])
    texts = [case.folder.conditioning(text, frame_rate=FPS) for text in (reference.PROMPT, reference.NEGATIVE)]
    sigmas = torch.tensor([0.6, 0.3, 0.0])
    once = sample(case.folder.model, first, *texts, seed=3, sigmas=torch.tensor([1.0, 0.5, 0.0]), guidance=3.0)
    twice = sample(case.folder.model, once, *texts, seed=4, sigmas=sigmas, guidance=3.0)
    without = {key: value for key, value in once.items() if key != KEYFRAMES}
    other = sample(case.folder.model, without, *texts, seed=4, sigmas=sigmas, guidance=3.0)
    assert relative(twice["samples"], other["samples"]) > 1e-4 and len(twice[KEYFRAMES]) == 1
