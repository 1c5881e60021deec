"""Every family with ComfyUI's own tools, in a real server: samplers, step caches, windows, latent tools, VAE nodes.

A tool that cannot work on a family says why.
"""

from __future__ import annotations

import shutil

import graphs
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from client import JobFailed
from graphs import node
from safetensors.torch import load

# What writes the folder and returns what the loader opens; width, height and frames of a small clip.
FAMILIES = {
    "ltx": (lambda path: tiny.folder(path, "0.9.5"), (96, 64, 17)),
    "cogvideox": (lambda path: tiny_cogvideox.folder(path, "5B"), (64, 48, 17)),
    "cogvideox-1.5": (lambda path: tiny_cogvideox.folder(path, "1.5 5B"), (64, 48, 17)),
    "cogvideox-inp": (lambda path: tiny_cogvideox.folder(path, "Fun 5B InP"), (64, 48, 17)),
    "mochi": (tiny_mochi.folder, (64, 48, 19)),
    "pyramid": (lambda path: tiny_pyramid.folder(path, "miniflux"), (128, 64, 9)),
}
FLOW, DISCRETE = ("ltx", "mochi", "pyramid"), ("cogvideox", "cogvideox-1.5", "cogvideox-inp")


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, server):
    diffusers = server.base / "models" / "diffusers"
    write, size = FAMILIES[request.param]
    folder = diffusers / f"chain-{request.param}"
    choice = write(folder).relative_to(diffusers).as_posix()
    yield request.param, f"diffusers/{choice}", dict(zip(("width", "height", "frames"), size, strict=True))
    shutil.rmtree(folder)


def base(family) -> dict:
    """Load, prompt, empty latent and a KSampler."""
    _, choice, size = family
    graph = graphs.text_to_video(model=choice, **size)
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent_image=["empty", 0])
    settings = dict(seed=3, steps=2, cfg=3.0, sampler_name="euler", scheduler="simple", denoise=1.0)
    graph["sample"] = node("KSampler", **inputs, **settings)
    del graph["decode"], graph["save"]
    return graph


def on_model(class_type: str, **inputs):
    """A tool between the loader and the sampler."""

    def graph(family) -> dict:
        made = base(family)
        made["tool"] = node(class_type, model=["load", 0], **inputs)
        made["sample"]["inputs"]["model"] = ["tool", 0]
        return made

    return graph


def advanced(family) -> dict:
    graph = base(family)
    inputs = {k: v for k, v in graph["sample"]["inputs"].items() if k not in ("seed", "denoise")}
    stages = dict(add_noise="enable", noise_seed=3, start_at_step=0, end_at_step=1, return_with_leftover_noise="enable")
    graph["first"] = node("KSamplerAdvanced", **inputs, **stages)
    stages |= dict(add_noise="disable", start_at_step=1, end_at_step=2, return_with_leftover_noise="disable")
    graph["sample"] = node("KSamplerAdvanced", **inputs | {"latent_image": ["first", 0]}, **stages)
    return graph


def custom(family) -> dict:
    graph = base(family)
    texts = dict(positive=["text", 0], negative=["text", 1])
    graph |= {
        "noise": node("RandomNoise", noise_seed=9),
        "guider": node("CFGGuider", model=["load", 0], cfg=3.0, **texts),
        "sampler": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "sigmas": node("AtelierVideoSchedule", model=["load", 0], latent=["empty", 0], steps=2, denoise=1.0),
    }
    parts = dict(noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0], sigmas=["sigmas", 0])
    graph["sample"] = node("SamplerCustomAdvanced", **parts, latent_image=["empty", 0])
    return graph


def masked(family) -> dict:
    """A clip of which the left half is kept."""
    graph = base(family)
    width, height, frames = (family[2][name] for name in ("width", "height", "frames"))
    graph |= {
        "image": node("EmptyImage", width=width, height=height, batch_size=frames, color=0xC04020),
        "known": node("VAEEncode", pixels=["image", 0], vae=["load", 2]),
        "whole": node("SolidMask", value=1.0, width=width, height=height),
        "half": node("SolidMask", value=0.0, width=width // 2, height=height),
        "mask": node("MaskComposite", destination=["whole", 0], source=["half", 0], x=0, y=0, operation="multiply"),
        "masked": node("SetLatentNoiseMask", samples=["known", 0], mask=["mask", 0]),
    }
    graph["sample"]["inputs"]["latent_image"] = ["masked", 0]
    return graph


def composite(family) -> dict:
    graph = base(family)
    graph["other"] = node("KSampler", **graph["sample"]["inputs"] | {"seed": 4})
    graph["first"] = graph.pop("sample")
    inputs = dict(samples_to=["first", 0], samples_from=["other", 0], x=32, y=0, feather=0)
    graph["sample"] = node("LatentComposite", **inputs)
    return graph


def windows(length: int):
    settings = dict(context_overlap=0, context_schedule="standard_static", context_stride=1, closed_loop=False)
    settings["causal_window_fix"] = False  # newer ComfyUI: one latent frame more in each window
    return on_model("ContextWindowsManual", context_length=length, **settings, fuse_method="pyramid", dim=2)


def windows_over_known_frames(family) -> dict:
    """What is known, and where, must be cut to the window too."""
    graph = windows(2)(family)
    graph["image"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xC04020)
    place = dict(vae=["load", 2], latent=["empty", 0], images=["image", 0], position="first", time=0.0, strength=1.0)
    graph["place"] = node("AtelierPlaceFrames", **place)
    graph["sample"]["inputs"]["latent_image"] = ["place", 0]
    return graph


CACHE = dict(reuse_threshold=3.0, start_percent=0.0, end_percent=1.0, verbose=False)
TOOLS = {
    "KSampler": base,
    "KSampler (Advanced)": advanced,
    "SamplerCustomAdvanced": custom,
    "EasyCache": on_model("EasyCache", **CACHE),
    "LazyCache": on_model("LazyCache", **CACHE),
    "Context Windows": windows(2),
    "Context Windows, known frames": windows_over_known_frames,
    "Set Latent Noise Mask": masked,
    "Latent Composite": composite,
    "ModelSamplingSD3": on_model("ModelSamplingSD3", shift=3.0),
    "ModelSamplingLTXV": on_model("ModelSamplingLTXV", max_shift=2.05, base_shift=0.95),
    "ModelSamplingDiscrete": on_model("ModelSamplingDiscrete", sampling="v_prediction", zsnr=True),
    "Rescale CFG": on_model("RescaleCFG", multiplier=0.7),
}
# Families on which a tool cannot work, and the word by which the error names the reason.
REFUSED = {
    "ModelSamplingSD3": (DISCRETE, "v-prediction"),
    "ModelSamplingLTXV": (DISCRETE, "v-prediction"),
    "ModelSamplingDiscrete": (FLOW, "flow matching"),
}


def complete(server, graph: dict) -> None:
    """Give a tool the inputs that only newer ComfyUI asks of it, at their defaults."""
    for step in graph.values():
        if not step["class_type"].startswith("Atelier"):
            required = server.client.object_info([step["class_type"]])[step["class_type"]]["input"].get("required", {})
            for name, (_, *options) in required.items():
                if options and "default" in options[0]:
                    step["inputs"].setdefault(name, options[0]["default"])


def latents(server, graph: dict) -> torch.Tensor:
    complete(server, graph)
    kept = graph | {"keep": node("SaveLatent", samples=["sample", 0], filename_prefix="chain")}
    (item,) = server.client.run(kept)["keep"]["latents"]
    return load(server.client.view(item))["latent_tensor"]


@pytest.mark.parametrize("tool", list(TOOLS))
def test_tool_runs_or_says_why_not(server, family, tool):
    name = family[0]
    refused, reason = REFUSED.get(tool, ((), ""))
    graph = TOOLS[tool](family)
    if name in refused:
        with pytest.raises(JobFailed) as raised:
            latents(server, graph)
        assert reason in raised.value.details["exception_message"]
        return
    made = latents(server, graph)
    width, height = family[2]["width"], family[2]["height"]
    assert made.isfinite().all() and made.abs().mean() > 1e-3
    assert made.shape[0] == 1 and made.shape[4] * height == made.shape[3] * width


def test_tiled_decode_and_save_and_load_latent(server, family):
    graph = base(family)
    graph["keep"] = node("SaveLatent", samples=["sample", 0], filename_prefix="chain")
    (item,) = server.client.run(graph)["keep"]["latents"]
    file = server.base / "input" / f"chain-{family[0]}.latent"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(server.client.view(item))
    tiles = dict(tile_size=64, overlap=32, temporal_size=64, temporal_overlap=8)
    again = {
        "load": graph["load"],
        "latent": node("LoadLatent", latent=file.name),
        "frames": node("VAEDecodeTiled", vae=["load", 2], samples=["latent", 0], **tiles),
        "decode": node("CreateVideo", images=["frames", 0], fps=8.0),
        "save": node("SaveVideo", video=["decode", 0], filename_prefix="test", format="auto", codec="auto"),
    }
    size = family[2]
    made = graphs.frames(server.client, server.client.run(again))
    assert made.shape == (size["frames"], size["height"], size["width"], 3)


def test_windows_that_split_a_token_are_refused(server, family):
    if family[0] == "cogvideox-1.5":
        with pytest.raises(JobFailed) as raised:
            latents(server, windows(3)(family))
        assert "as one token" in raised.value.details["exception_message"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a processor")
def test_compiled_model_gives_the_same_clip(server, family):
    graph = on_model("TorchCompileModel", backend="inductor")(family)
    plain, compiled = latents(server, base(family)), latents(server, graph)
    assert torch.allclose(plain, compiled, atol=1e-2 * plain.abs().max().item())
