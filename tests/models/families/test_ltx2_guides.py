"""Guides of LTX-2: keyframes as Lightricks' pipeline appends them, and core's LTXVAddGuide beside core's LTX-2."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager

import case_ltx2
import comfy.samplers
import comfy.sd
import comfy_extras.nodes_lt as core
import nodes
import pytest
import tiny_ltx2
import torch
from atelier.editing import changes
from atelier.editing.placing import place_images
from atelier.models.bridge.control import control
from atelier.models.bridge.sampling import sample, with_guides
from atelier.models.bridge.vae import vae_grid
from atelier.models.timeline.keyframes import keyframes_of
from atelier.models.timeline.latent import KEYFRAMES, streams_of, video_of
from case_ltx2 import FRAMES, SIZE, noise, relative
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced
from diffusers.pipelines.ltx2 import pipeline_ltx2_condition as authors
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2ConditionPipeline, LTX2VideoCondition

newer = pytest.mark.skipif(not hasattr(core, "LTXVConcatAVLatent"), reason="ComfyUI 0.33 and newer have LTX-2")
EVERY = 8
"""Frames of a latent frame."""


@pytest.fixture(scope="module", params=tiny_ltx2.VERSIONS)
def made(request, tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made(request.param, tmp_path_factory.mktemp("ltx2"))


def images(count: int, seed: int = 0) -> torch.Tensor:
    pixels = torch.randint(256, (count, *SIZE[::-1], 3), generator=torch.Generator().manual_seed(seed))
    return pixels.float() / 255


def placed(made: case_ltx2.Made, *pictures: tuple[int, float]) -> dict:
    """A shot with a picture at the first frame of each of these latent frames, with a strength each."""
    shot = made.shot()
    for number, (at, strength) in enumerate(pictures):
        frame = max(0, (at - 1) * EVERY + 1)
        shot = place_images(made.vae, shot, images(1, number), at, frame, strength)[0]
    return shot


@contextmanager
def gates_of_lightricks(network: torch.nn.Module):
    """diffusers' network with the gates of Lightricks' code: they get the noise level of the other stream."""
    level: dict[str, torch.Tensor] = {}
    hooks = [network.register_forward_pre_hook(lambda *a: level.update(sigma=a[2]["sigma"]), with_kwargs=True)]
    hooks += [
        gate.register_forward_pre_hook(lambda _, arguments: (level["sigma"].flatten(), *arguments[1:]))
        for gate in (network.av_cross_attn_video_a2v_gate, network.av_cross_attn_audio_v2a_gate)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def packed(stream: torch.Tensor) -> torch.Tensor:
    """Latents as tokens [B, n, 128]."""
    return stream.flatten(2).transpose(1, 2) if stream.ndim == 5 else stream.transpose(1, 2).flatten(2)


def test_keyframes_are_those_of_the_authors_pipeline(made, monkeypatch):
    """The first frame stands in the shot, two later ones are tokens behind it. Kept whole, they have no noise.

    A frame kept in part is noised as ComfyUI's nodes do: see the tests beside core's LTX-2.
    """
    ours = made.sampled(placed(made, (0, 1.0), (1, 1.0), (2, 1.0)))
    video, sound = noise(made)
    drawn = iter([torch.cat([packed(video), packed(torch.zeros_like(video[:, :, :2]))], dim=1), packed(sound)])
    monkeypatch.setattr(authors, "randn_tensor", lambda *_, **__: next(drawn))
    conditions = [
        LTX2VideoCondition(frames=images(1, at).movedim(-1, 1) * 255, index=at, strength=1.0, crf=0) for at in range(3)
    ]
    with gates_of_lightricks(made.pipe.transformer):
        theirs = made.reference(LTX2ConditionPipeline, video, sound, conditions=conditions, noise_scale=1.0)
    assert [relative(*pair) < 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]
    plain = made.sampled(placed(made, (0, 1.0)))
    assert all(relative(*pair) > 1e-3 for pair in zip(ours, plain, strict=True))  # both streams read them


def test_keyframes_reach_the_network_through_cores_samplers(made):
    """KSampler hands on samples and mask alone; a shot that only looks like it has no keyframes."""
    shot = placed(made, (2, 1.0))
    assert shot[KEYFRAMES][0].frame == 9 and keyframes_of(video_of(shot["samples"]))
    texts = [made.conditioning(words, shot) for words in (tiny_ltx2.PROMPT, tiny_ltx2.NEGATIVE)]
    sigmas = comfy.samplers.calculate_sigmas(made.model.get_model_object("model_sampling"), "simple", 2)
    expected = sample(made.model, shot, *texts, seed=1, sigmas=sigmas, guidance=3.0)["samples"].unbind()
    for samples in (shot["samples"], NestedTensor([stream.clone() for stream in shot["samples"].unbind()])):
        latent = {"samples": samples, "noise_mask": shot["noise_mask"]}
        (by_core,) = nodes.common_ksampler(made.model, 1, 2, 3.0, "euler", "simple", *texts, latent)
        assert all(relative(*pair) < 1e-5 for pair in zip(by_core["samples"].unbind(), expected, strict=True))
    (free,) = nodes.common_ksampler(made.model, 1, 2, 3.0, "euler", "simple", *texts, {"samples": shot["samples"]})
    assert relative(video_of(free["samples"]), expected[0]) > 1e-3


def test_a_hole_before_known_frames_is_filled_with_them_as_a_keyframe(made):
    """Backward, the model makes what comes before the clip; the clip's beginning is read beside the hole, too."""
    clip = {**made.shot(), "samples": NestedTensor(noise(made))}
    longer = changes.extended(clip, 2, False, vae_grid(made.vae))
    (keyframe,) = longer[KEYFRAMES]
    assert keyframe.latents.shape[2] == 2 and keyframe.begins(vae_grid(made.vae)) == 16
    streams = made.sampled(longer, steps=1)
    alone = made.sampled({**longer, "samples": NestedTensor([s.clone() for s in streams_of(longer["samples"])])}, 1)
    assert all(torch.isfinite(stream).all() for stream in streams) and streams[0].shape[2] == 5
    assert relative(streams[0], alone[0]) < 1e-5  # the LATENT's own entry says so, too


def test_a_control_clip_is_read_beside_the_shot(made):
    """As IC-LoRAs are trained: one clip over the whole shot, and a smaller one of fewer tokens."""
    texts = [made.conditioning(words, made.shot()) for words in (tiny_ltx2.PROMPT, tiny_ltx2.NEGATIVE)]
    sigmas = torch.tensor([1.0, 0.7, 0.0])

    def sampled(*entries: dict) -> list[torch.Tensor]:
        both = texts
        for entry in entries:
            both = [with_guides(text, entry) for text in both]
        return sample(made.model, made.shot(), *both, seed=0, sigmas=sigmas, guidance=3.0)["samples"].unbind()

    plain, led = sampled(), sampled(control(made.vae, images(FRAMES), made.shot()))
    assert all(relative(*pair) > 1e-3 for pair in zip(led, plain, strict=True))
    assert led[0].shape == plain[0].shape and led[1].shape == plain[1].shape
    with pytest.raises(ValueError, match="multiples of 64"):  # 96 x 64 is 3 x 2 latent pixels
        control(made.vae, images(FRAMES), made.shot(), scale=2)


# ------------------------------------------------------------------------------------------------ beside core's LTX-2


@pytest.fixture(params=["audio_to_video_attn", "video_to_audio_attn"])
def both_models(request, made) -> tuple[object, object]:
    """Our MODEL and core's, of the same weights, in which one attention between the streams adds nothing.

    Core norms the picture once more between the two, which Lightricks' code does not: with one of them it is the same.
    """
    state = {key: weight.clone() for key, weight in tiny_ltx2.network_state(made.pipe).items()}
    with torch.no_grad():
        for key, weight in made.model.model.diffusion_model.named_parameters():
            if f".{request.param}.to_out." in key:
                weight.zero_()
    for key in state:
        if f".{request.param}.to_out." in key:
            state[key].zero_()
    yield made.model, _core(made, state)
    with torch.no_grad():
        own = dict(made.model.model.diffusion_model.named_parameters())
        for key, weight in made.pipe.transformer.named_parameters():
            if f".{request.param}.to_out." in key:
                own[key].copy_(weight)


def _core(made: case_ltx2.Made, state: dict[str, torch.Tensor]) -> object:
    """ComfyUI's own MODEL, as its loader nodes load it."""
    new, shapes = made.version == "2.3", tiny_ltx2.network_config(made.version)
    names = ("num_attention_heads", "attention_head_dim", "cross_attention_dim", "caption_channels")
    names += tuple(f"audio_{name}" for name in names[:3])
    config = {name: shapes[name] for name in names} | {
        "apply_gated_attention": new,
        "cross_attention_adaln": new,
        "caption_proj_before_connector": new,
        "caption_projection_first_linear": False,
        "causal_temporal_positioning": True,
        "use_middle_indices_grid": True,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "av_ca_timestep_scale_multiplier": 1000.0,
    }
    whole = {key.removeprefix(tiny_ltx2.PREFIX): weight for key, weight in state.items()}
    metadata = {"config": json.dumps({"transformer": config})}
    return comfy.sd.load_diffusion_model_state_dict(whole, {"dtype": torch.float32}, metadata)


def texts_of(made: case_ltx2.Made) -> list[list]:
    """Texts that went through the connectors, as both networks take them."""
    width = tiny_ltx2.VIDEO_WIDTH + tiny_ltx2.AUDIO_WIDTH if made.version == "2.3" else 2 * tiny_ltx2.CAPTION
    generator = torch.Generator().manual_seed(2)
    shape = (1, tiny_ltx2.TOKENS, width)
    return [[[torch.randn(shape, generator=generator), {"frame_rate": case_ltx2.FPS}]] for _ in range(2)]


Guides = Callable[[list, list, dict], tuple[list, list, dict]]


def by_core(made: case_ltx2.Made, model: object, guides: Guides) -> tuple[torch.Tensor, torch.Tensor]:
    """Core's graph for guides on a clip with sound: guides, join, sample, separate, crop."""
    video, sound = made.shot()["samples"].unbind()
    positive, negative, latent = guides(*texts_of(made), {"samples": video})
    (joined,) = core.LTXVConcatAVLatent.execute(latent, {"samples": sound}).args
    guider = CFGGuider.execute(model, positive, negative, 3.0).args[0]
    euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([1.0, 0.7, 0.0])
    out = SamplerCustomAdvanced.execute(Noise_RandomNoise(4), guider, euler, sigmas, joined).args[0]
    picture, heard = core.LTXVSeparateAVLatent.execute(out).args
    cropped = core.LTXVCropGuides.execute(positive, negative, picture).args[2]["samples"]
    return cropped, heard["samples"]


def adding(vae: object, *guides: tuple[int, int, float]) -> Guides:
    """Core's LTXVAddGuide for each guide: how many pictures, the frame, the strength."""

    def added(positive: list, negative: list, latent: dict) -> tuple[list, list, dict]:
        for number, (count, frame, strength) in enumerate(guides):
            given = positive, negative, vae, latent, images(count, number), frame, strength
            positive, negative, latent = core.LTXVAddGuide.execute(*given).args
        return positive, negative, latent

    return added


CASES = {
    "none": [],
    "last frame": [(1, -1, 1.0)],
    "half strength": [(1, 8, 0.5)],
    "three, one of them a clip": [(1, 0, 1.0), (9, 8, 0.8), (1, 12, 0.6)],
}


@newer
@pytest.mark.parametrize("name", CASES)
def test_guides_mean_what_they_mean_for_cores_ltx2(made, both_models, name):
    ours, theirs = (by_core(made, model, adding(made.vae, *CASES[name])) for model in both_models)
    assert [relative(*pair) <= 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]
    if CASES[name]:
        plain = by_core(made, both_models[0], adding(made.vae))
        assert relative(ours[0], plain[0]) > 1e-3
