"""CogVideoX (THUDM) and CogVideoX-Fun (aigc-apps): their variants, recipes and trailing schedule.

Sources: arXiv 2408.06072; the model cards and configs of THUDM/CogVideoX-2b, -5b, -5b-I2V, CogVideoX1.5-5B and
CogVideoX1.5-5B-I2V (sizes, frames, steps, guidance, tokens: the table on the card of zai-org/CogVideoX1.5-5B, and
sat/configs of github.com/THUDM/CogVideo); for Fun (InP, Control, Pose) github.com/aigc-apps/CogVideoX-Fun, whose
predict_i2v.py has its recipe.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler

from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Shape
from ...contract.known_frames import KnownFrames
from ...weights.checkpoint import Checkpoint
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of, renamed
from .autoencoder import GRID, SCALE_2B, SCALE_5B, build_autoencoder
from .known_frames import Concatenated, Controlled, Ends, Held, Inpainted
from .layouts import FUN, SAT_NAMES, has_learned_positions, network_state
from .network import ARGUMENTS, build_network

# The model cards recommend at most 49 frames; for 1.5, 16n + 1 frames up to 161.
RECIPE = Recipe(720, 480, 49, fps=8, steps=50, guidance=6.0)
RECIPE_15 = Recipe(1360, 768, 81, fps=16, steps=50, guidance=6.0)
NEGATIVE_FUN = (
    "The video is not of a high quality, it has a low resolution. Watermark present in each frame. The background is "
    "solid. Strange body and strange trajectory. Distortion. "
)
RECIPE_FUN = Recipe(672, 384, 49, fps=8, steps=50, guidance=6.0, negative_prompt=NEGATIVE_FUN)
FRAMES_FUN_15 = 85
"""Frames of V1.5's recipe: 22 latent frames. It was trained on even counts, which its authors' scripts pad to."""
PIXEL_NOISE = 0.0563
"""Standard deviation of the noise that V1.1 InP's authors add to known pixels in -1..1 (`noise_aug_strength`)."""
# Encoder and network attend to padding, as in training.
TEXT = Text(tokens=226, network_sees_padding=True)
TOKENS_15 = 224
# The published scheduler_config.json; the 2B's SNR is shifted by 3, that of 5B is not. Model cards use "trailing".
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "snr_shift_scale": 1.0,
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
}
SNR_SHIFT_2B = 3.0
# ComfyUI's value for a terminal alpha of zero, whose sigma would be infinite.
LAST_ALPHA = 4.8973451890853435e-08

HEADS_2B = 30
ASSUMED_CONTROL = (
    "its file does not name its extra input: Fun Control is assumed. If it takes an image, put 'img2vid' into its "
    "file's name"
)


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """The CogVideoX variant of a folder or file, from config or keys; None if it is another model."""
    network = checkpoint.network
    shapes = {renamed(key, SAT_NAMES): shape for key, shape in network.shapes.items()}
    if network.config:
        if network.config.get("_class_name") != "CogVideoXTransformer3DModel":
            return None
        config = network.arguments
    elif "patch_embed.text_proj.weight" in shapes and "norm_final.weight" in shapes:
        config = network_config(shapes)
    else:
        return None
    return _variant(checkpoint, config)


def network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The network's arguments, read from the shapes under diffusers' names. All published heads are 64 wide."""
    width, text = shapes["patch_embed.text_proj.weight"]
    projection = shapes["patch_embed.proj.weight"]
    later = len(projection) == 2  # 1.5 embeds its patches, which last two latent frames, with a linear layer
    learned = has_learned_positions(shapes)
    ofs = shapes.get("ofs_embedding.linear_1.weight")
    return {
        "num_attention_heads": width // 64,
        "in_channels": projection[1] // 8 if later else projection[1],
        "out_channels": shapes["proj_out.weight"][0] // (8 if later else 4),
        "time_embed_dim": shapes["time_embedding.linear_1.weight"][0],
        "ofs_embed_dim": ofs[1] if ofs else None,
        "text_embed_dim": text,
        "num_layers": blocks_of(shapes, "transformer_blocks"),
        "patch_size_t": 2 if later else None,
        "patch_bias": not later,
        "sample_width": 300 if later else 90,
        "sample_height": 300 if later else 60,
        "sample_frames": 81 if later else 49,
        "max_text_seq_length": TOKENS_15 if later else TEXT.tokens,
        "use_rotary_positional_embeddings": width // 64 != HEADS_2B,
        "use_learned_positional_embeddings": learned,
    }


def _variant(checkpoint: Checkpoint, config: dict[str, Any]) -> Variant:
    later, small = config.get("patch_size_t") is not None, not config.get("use_rotary_positional_embeddings", False)
    channels = config.get("out_channels", 16)
    given = config.get("in_channels", 16) - channels
    kind, notes = _kind(checkpoint, config, given, channels)
    size, fun = "2B" if small else "5B", kind in ("InP", "Control")
    recipe = RECIPE_15 if later else RECIPE
    if fun:
        recipe = replace(RECIPE_FUN, frames=FRAMES_FUN_15) if later else RECIPE_FUN
    patch = config.get("patch_size_t") or 1
    scheduler = {**SCHEDULER, "snr_shift_scale": SNR_SHIFT_2B if small else 1.0, **checkpoint.scheduler}
    return Variant(
        name=f"CogVideoX{'-Fun' if fun else ''}{' 1.5' if later else ''} {size} {kind}".rstrip(),
        grid=replace(
            GRID, channels=channels, patch=(patch, config.get("patch_size", 2)), least=patch if fun else GRID.least
        ),
        recipe=recipe,
        network={name: value for name, value in config.items() if name in ARGUMENTS} | {FUN: fun},
        text=replace(
            TEXT, tokens=config.get("max_text_seq_length", TEXT.tokens), channels=config.get("text_embed_dim", 4096)
        ),
        known_frames=_known_frames(kind, later, SCALE_2B if small else SCALE_5B, _pixel_noise(checkpoint, config)),
        scheduler=scheduler,
        dtypes=("float16", "bfloat16", "float32") if small else ("bfloat16", "float32"),
        notes=notes,
    )


def _kind(checkpoint: Checkpoint, config: dict[str, Any], given: int, channels: int) -> tuple[str, tuple[str, ...]]:
    """The kind of a network's input beside the clip's `channels`, and notes on what had to be assumed.

    given: how many further channels it reads. The kind is "" (none), "I2V" (the first frame), "Interpolation" (first
    and last frame), "img2vid" (a still clip), "InP" (a mask and a clip) or "Control" (a control clip; Pose too).
    """
    if not given:
        return "", ()
    if given == channels + 1:
        return "InP", ()
    if given == channels:
        # An image and a control clip have equally many channels. I2V networks also have learned positions or an `ofs`
        # embedding. Their fine-tunes differ only in the names of the pipeline and the file.
        called = f"{checkpoint.pipeline} {checkpoint.path.name}".lower()
        if config.get("use_learned_positional_embeddings") or config.get("ofs_embed_dim"):
            return ("Interpolation" if "interpolat" in called else "I2V"), ()
        if "img2vid" in called:
            return "img2vid", ()
        named = any(word in called for word in ("control", "pose", "fun"))
        return "Control", () if named else (ASSUMED_CONTROL,)
    raise CheckpointError(
        f"{checkpoint.path.name} is a CogVideoX that takes {given} channels beside the clip's {channels}, as no "
        f"supported variant does. Expected: none (text to video), {channels} (I2V, Fun Control and Pose) or "
        f"{channels + 1} (Fun InP)."
    )


def _pixel_noise(checkpoint: Checkpoint, config: dict[str, Any]) -> float:
    """The noise that InP adds to known pixels. A folder's config tells whether it does, of a file its name."""
    noisy = config.get("add_noise_in_inpaint_model", "v1.1" in checkpoint.path.name.lower())
    return PIXEL_NOISE if noisy else 0.0


def _known_frames(kind: str, later: bool, scale: float, noise: float) -> KnownFrames:
    if kind == "I2V":
        # 1.5 reads the image in the latent frame that is added in front of the clip. Its authors divided these latents
        # by the scale that all others are multiplied with.
        return Concatenated(frames=2, scale=scale**-2) if later else Concatenated()
    others = {
        "Interpolation": Ends(),
        "img2vid": Held(),
        "InP": Inpainted(scale=scale, noise=noise),
        "Control": Controlled(),
    }
    return others.get(kind, KnownFrames())


def levels(variant: Variant) -> torch.Tensor:
    """Sigmas [1000] of the training timesteps, rising to the one that stands for pure noise."""
    alphas = CogVideoXDDIMScheduler.from_config(dict(variant.scheduler)).alphas_cumprod.double()
    alphas[-1] = max(alphas[-1].item(), LAST_ALPHA)
    return ((1 - alphas) / alphas).sqrt().float()


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] at CogVideoXPipeline's trailing timesteps. Euler steps over them are DDIM's with eta 0."""
    sigmas = levels(variant)
    timesteps = np.round(np.arange(len(sigmas), 0, -len(sigmas) / steps)).astype(np.int64) - 1
    return torch.cat([sigmas[torch.from_numpy(timesteps)], torch.zeros(1)])


def dynamic_guidance(guidance: float, timestep: int, steps: int) -> float:
    """The guidance at a timestep as CogVideoXPipeline computes it with `use_dynamic_cfg`: from 1 to 1 + guidance.

    Its authors intended a cosine that rises over the steps. But the pipeline compares the timestep (999 to 0) with the
    number of steps, so with fewer than 1000 steps the guidance rises and falls. Published clips were made that way.
    """
    return 1 + guidance * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5.0)) / 2


FAMILY = Family(
    name="CogVideoX",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    levels=levels,
    dynamic_guidance=dynamic_guidance,
    preview="CogVideoX",
    own_scheduler={
        "_class_name": ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
        "prediction_type": ("v_prediction",),
    },
)
