"""Every family on a device whose tensors cannot be combined with the CPU's, with weights on and off the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import comfy.model_management as memory
import pytest
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge import vae as coding
from atelier.models.bridge.control import control
from atelier.models.bridge.sampling import empty_latent, empty_shot, sample, with_options
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.weights import bring_along, load_weights, uncast
from atelier.models.bridge.wrappers.guidance import (
    own_guidance,
    with_dynamic_guidance,
    with_published_guidance,
    with_video_guidance,
)
from atelier.models.bridge.wrappers.speed import with_step_cache
from atelier.models.families.ltx_video.versions import GUIDANCE_13B
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline.latent import streams_of
from atelier.models.timeline.placing import place
from reference import PROMPT, relative
from simulated_accelerator import SIM, VRAM, Accelerator, accelerator

FOLDERS = {
    "ltx 0.9.0": lambda path: tiny.folder(path, "0.9.0"),
    "ltx 0.9.1": lambda path: tiny.folder(path, "0.9.1"),
    "ltx 0.9.5": lambda path: tiny.folder(path, "0.9.5"),
    "mochi": tiny_mochi.folder,
    **{
        f"cogvideox {variant}": lambda path, variant=variant: tiny_cogvideox.folder(path, variant)
        for variant in ("2B", "5B", "1.5 5B I2V", "Fun 5B InP", "Fun 5B Control")
    },
    "ltx2": lambda path: tiny_ltx2.folder(path, "2.3"),
    "pyramid miniflux": lambda path: tiny_pyramid.folder(path, "miniflux"),
    "pyramid sd3": lambda path: tiny_pyramid.folder(path, "sd3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``folder("mochi")``: the folder of that family's tiny weights, written once."""
    return cache(lambda name: FOLDERS[name](tmp_path_factory.mktemp("models") / "model"))


def worked(path: Path, device: Accelerator | None = None) -> dict[str, torch.Tensor]:
    """The results of loading, prompt, encoding, T2V, I2V, V2V and decoding, in main memory."""
    opened = open_model(path)
    model, clip, vae = load.load_model(opened), load.load_clip(opened), load.load_vae(opened)
    room = device.make_room if device else lambda patcher: None
    inner = model.model
    grid = inner.variant.grid
    side = grid.legal_side(32)
    blank = empty_shot(inner.variant, (side, side, grid.frames(2)), 8.0)
    shape = blank["samples"].shape
    images = torch.rand(grid.frames(2), side, side, 3, generator=torch.Generator().manual_seed(1))
    room(clip.patcher)
    (positive, _), (negative, _) = (encode_text(clip, text) for text in (PROMPT, ""))
    room(vae.patcher)
    footage = vae.encode(images)
    if inner.variant.known_frames.controlled:
        positive, negative = (with_options(cond, control(vae, images, blank)) for cond in (positive, negative))
    sigmas = inner.family.schedule(inner.variant, 1, shape)
    results: dict[str, Any] = {"prompt": positive[0][0], "encode": footage}
    room(model)
    for task, latent in {
        "T2V": blank,
        "I2V": place(blank, footage[:, :, :1], start=0, strength=1.0),
        "V2V": place(blank, footage, start=0, strength=0.5),
    }.items():
        made = sample(model, latent, positive, negative, seed=3, sigmas=sigmas, guidance=3.0)["samples"]
        results |= {f"{task} {stream}".strip(): x for stream, x in zip(("", "sound"), streams_of(made), strict=False)}
    room(vae.patcher)
    results["decode"] = coding.decode(vae, results["T2V"])
    if inner.variant.sound:
        waves, rate = coding.decode_sound(vae, results["T2V sound"])
        results |= {"decode sound": waves, "encode sound": coding.encode_sound(vae, waves, rate, 9)}
    return {name: result.cpu() for name, result in results.items()}


@pytest.fixture(scope="module")
def expected(folder):
    """``expected("mochi")``: the CPU's results with that family's tiny weights."""

    @cache
    def made(name: str) -> dict[str, torch.Tensor]:
        memory.unload_all_models()
        return worked(folder(name))

    return made


ALWAYS = {("ltx 0.9.1", vram) for vram in VRAM} | {
    (name, "most outside") for name in ("mochi", "ltx2", "cogvideox 1.5 5B I2V", "pyramid miniflux")
}
"""The cases of the normal run: together all families and all memory modes. All combinations take minutes."""
CASES = [
    pytest.param(name, vram, marks=() if (name, vram) in ALWAYS else pytest.mark.slow)
    for name in FOLDERS
    for vram in VRAM
]


@pytest.mark.parametrize("name,vram", CASES)
def test_every_family_on_a_device(folder, expected, name, vram):
    processor = expected(name)
    with accelerator(VRAM[vram]) as device:
        made = worked(folder(name), device)
    assert {key: relative(made[key], processor[key]) for key in made} == pytest.approx(dict.fromkeys(made, 0), abs=3e-5)


def test_the_device_refuses_what_a_gpu_refuses():
    with accelerator():
        there, here = torch.ones(2, device=SIM), torch.ones(2)
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, device=SIM, generator=torch.Generator())
        assert (there + here.to(SIM)).cpu().tolist() == [2, 2]


class Doubled(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Transposed(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight.T, self.bias)


def test_layers_of_other_classes_compute_with_weights_left_outside():
    network = torch.nn.Sequential(Doubled(3, 3), Transposed(3, 3))
    x = torch.randn(2, 3)
    expected = network(x).detach()
    load_weights(network, dict(network.state_dict()), torch.float32, torch.float32)
    with accelerator():
        left_behind = uncast(network)
        assert {module for module, _ in left_behind} == {network[1]}
        bring_along(left_behind, SIM)
        network[0].comfy_cast_weights = True  # as ComfyUI sets it on a layer that it leaves outside
        made = network(x.to(SIM)).cpu()
    assert torch.equal(made, expected)


STEPPED = ("ltx 0.9.1", "mochi", "cogvideox 2B", "cogvideox 1.5 5B I2V", "pyramid miniflux")
OWN = dict(stg_scale="1", stg_blocks="0", rescale="0.5", cfg_zero_star=True, zero_init_steps=0)
BY_STEP = OWN | dict(guidance="2, 3", stg_scale="0: 2, 1: 1", stg_blocks="0; 1")


def guided(model, **values):
    return with_video_guidance(model, own_guidance(model, **values))


def published_by_level(model):
    model.model.variant = replace(model.model.variant, guidance=GUIDANCE_13B)
    return with_published_guidance(model)


GUIDED = {
    "as it is": lambda model: model,
    "guided": lambda model: guided(model, **OWN | dict(guidance="3") if model.model.family.sample else BY_STEP),
    "dynamic": with_dynamic_guidance,
    "by level": published_by_level,
}
WAITLESS = [(name, "as it is") for name in STEPPED] + [
    ("ltx 0.9.1", "guided"),
    ("cogvideox 2B", "guided"),
    ("pyramid miniflux", "guided"),
    ("cogvideox 2B", "dynamic"),
    ("ltx 0.9.1", "by level"),
]


@pytest.mark.parametrize(("name", "how"), WAITLESS)
def test_no_step_waits_for_the_device(folder, name, how):
    """A further step causes no further wait of the host. A wait in each step or block would leave a GPU idle."""
    waits = waits_of_steps(open_model(folder(name)), GUIDED[how])
    assert waits[0]  # those of a run, so they are counted
    assert len(waits[1]) == len(waits[0]), "\n".join(waits[1])


@pytest.mark.parametrize("name", STEPPED)
def test_speed_up_video_waits_once_a_step(folder, name):
    """Whether the other blocks run is decided by the host: nothing else is."""
    few, more = waits_of_steps(open_model(folder(name)), lambda model: with_step_cache(model, "careful"))
    steps = 3 if "pyramid" in name else 1  # Pyramid Flow: at each size of the one frame that is not known
    assert len(more) == len(few) + steps, "\n".join(more)


def waits_of_steps(opened: Any, put: Callable[[Any], Any] = lambda model: model) -> list[list[str]]:
    """Where the host waits in a run of one step, and in a run of two."""
    variant = opened.variant
    side, options = variant.grid.legal_side(32), {}
    shape = variant.grid.latent_shape(side, side, variant.grid.frames(2))
    latent = place(empty_latent(shape, 8.0), torch.ones(shape)[:, :, :1], start=0, strength=1.0)
    if variant.text.pooled:
        options["pooled_output"] = torch.ones(1, sum(tiny_pyramid.CLIPS[name]["width"] for name in variant.text.pooled))
    prompts = [
        [[torch.ones(1, variant.text.tokens, variant.text.channels), {**options, "attention_mask": mask[None]}]]
        for mask in (torch.arange(variant.text.tokens) < length for length in (9, 4))
    ]
    with accelerator() as device:
        model, waits = load.load_model(opened), []
        for steps in (1, 1, 2):  # in the first run the model's tables are not on the device yet
            device.waits.clear()
            sigmas = opened.family.schedule(variant, steps, shape)
            sample(put(model), latent, *prompts, seed=3, sigmas=sigmas, guidance=3.0)
            waits.append(list(device.waits))
    return waits[1:]
