"""ComfyUI's own MultiGPU CFG Split on every family: one device computes the prompt, another the negative prompt.

"cpu" and "cpu:0" are one device to torch and two to a dict, so core's scheduler, clones and threads all run.
"""

from __future__ import annotations

import comfy.model_management as memory
import comfy.samplers
import pytest
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.hooks.step_cache import CachedCall
from atelier.models.bridge.sampling import empty_shot, sample
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.wrappers import speed
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline.latent import streams_of
from atelier.models.timeline.placing import place
from reference import NEGATIVE, PROMPT, relative

multigpu = pytest.importorskip("comfy.multigpu", reason="ComfyUI 0.33 and newer can split the guidance")

FOLDERS = {
    "ltx 0.9.1": lambda path: tiny.folder(path, "0.9.1"),
    "ltx 0.9.5": lambda path: tiny.folder(path, "0.9.5"),
    "ltx2 2.0": lambda path: tiny_ltx2.folder(path, "2.0"),
    "ltx2 2.3": lambda path: tiny_ltx2.folder(path, "2.3"),
    "mochi": tiny_mochi.folder,
    **{
        f"cogvideox {variant}": lambda path, variant=variant: tiny_cogvideox.folder(path, variant)
        for variant in ("2B", "5B", "1.5 5B", "5B I2V", "Fun 5B InP")
    },
    "pyramid miniflux": lambda path: tiny_pyramid.folder(path, "miniflux"),
    "pyramid sd3": lambda path: tiny_pyramid.folder(path, "sd3"),
}


@pytest.fixture
def two_devices(monkeypatch):
    """Core sees two devices; the list of its steps that were split, by their devices."""
    devices, split, steps = [torch.device("cpu"), torch.device("cpu", 0)], [], []
    inner = comfy.samplers._calc_cond_batch_multigpu

    def counted(*args):
        steps.append(list(args[4]["multigpu_clones"]))
        return inner(*args)

    monkeypatch.setattr(comfy.samplers, "_calc_cond_batch_multigpu", counted)
    monkeypatch.setattr(memory, "get_all_torch_devices", lambda exclude_current=False: devices)
    monkeypatch.setattr(memory, "set_torch_device", split.append)
    return steps


def numbers(latent: dict) -> torch.Tensor:
    """All that was sampled, of a picture and of its sound if there is one."""
    return torch.cat([stream.flatten() for stream in streams_of(latent["samples"])])


@pytest.mark.parametrize("name", FOLDERS)
def test_two_devices_make_the_clip_of_one(tmp_path, two_devices, name, monkeypatch):
    opened = open_model(FOLDERS[name](tmp_path / "model"))
    model, clip = load.load_model(opened), load.load_clip(opened)
    variant = opened.variant
    width, height = (variant.grid.legal_side(side) for side in (64, 48))
    size = (width, height, variant.grid.legal_frames(9))
    shape = variant.grid.latent_shape(*size)
    latent = place(empty_shot(variant, size, 8.0), torch.ones(shape)[:, :, :1], start=0, strength=1.0)
    texts = [encode_text(clip, text)[0] for text in (PROMPT, NEGATIVE)]
    steps = 4
    given = dict(seed=3, sigmas=opened.family.schedule(variant, steps, shape), guidance=3.0)
    alone = numbers(sample(model, latent, *texts, **given))
    assert not two_devices
    split = multigpu.create_multigpu_deepclones(model, max_gpus=2)
    together = numbers(sample(split, latent, *texts, **given))
    assert len(two_devices) >= steps and all(len(devices) == 2 for devices in two_devices)
    assert relative(together, alone) <= 1e-5

    skipped, completed = [], CachedCall.completed

    def noted(self: CachedCall, picture: torch.Tensor) -> torch.Tensor:
        skipped.append(self.options.get("multigpu_thread_device"))
        return completed(self, picture)

    monkeypatch.setattr(CachedCall, "completed", noted)
    monkeypatch.setitem(speed.THRESHOLDS, "fast", 1e9)
    ways = [speed.with_step_cache(way, "fast") for way in (split, model)]
    sped_up = [numbers(sample(way, latent, *texts, **given)) for way in ways]
    assert set(skipped) == {*two_devices[0], None}  # each half by itself; then both on one device
    assert relative(*sped_up) <= 1e-5 < relative(sped_up[0], alone)
