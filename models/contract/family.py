"""The contract every model family fulfils: its grid, recipe, text, schedule, parts and its way with known frames.

No family is named here and nothing heavy is imported. Whoever holds a MODEL asks `model.model.family` and
`model.model.variant` these questions instead of asking which model it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..weights.checkpoint import Checkpoint, Component
from .colours import Colours
from .grid import Grid, Shape, State
from .guidance import Guidance
from .known_frames import KnownFrames
from .vocabulary import Vocabulary

EULER = "euler"
WEIGHT_DTYPES = ("default", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class Recipe:
    """What the model's authors recommend: pixels, frames, frames per second, steps, guidance (CFG), negative prompt."""

    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    negative_prompt: str = ""


@dataclass(frozen=True)
class Text:
    """How a model reads its prompt: padded to `tokens` tokens, each embedded in `channels` numbers.

    `encoder_sees_padding`: the text encoder attends the padding. `network_sees_padding`: the network does, so no mask
    goes with the text. `empty_is_nothing`: of an empty prompt not even its end token counts. `pooled`: the CLIP
    encoders ("clip_l", "clip_g") whose pooled output goes with the text, behind their projection (`pooled_projected`)
    or before it. `style`: the style (styles.json) whose words its authors add to every prompt, or "".
    """

    tokens: int
    channels: int = 4096
    encoder_sees_padding: bool = True
    network_sees_padding: bool = False
    empty_is_nothing: bool = False
    pooled: tuple[str, ...] = ()
    pooled_projected: bool = True
    style: str = ""


@dataclass(frozen=True)
class Variant:
    """One checkpoint of a family: what it is called, how big its clips are and how it wants to be run.

    `network` holds the arguments of the family's network class, `scheduler` configures the family's schedule.
    `known_frames` is how known frames reach the network; `dtypes` are the formats it can compute in, best first;
    `colours` is what its latents look like, where that was fitted to this checkpoint; `vocabulary` holds the words it
    knows, where they are few. `sampler` is the one its authors run, by ComfyUI's name. `guidance` is their guidance
    level by level, where one number does not say it. `notes` are what an artist should know of it, such as what was
    assumed because the file does not tell. `autoencoders` are the versions of the family's autoencoder whose latents it
    was trained on, best first, where there are several.
    """

    name: str
    grid: Grid
    recipe: Recipe
    network: Mapping[str, Any]
    text: Text
    known_frames: KnownFrames
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    colours: Colours | None = None
    vocabulary: Vocabulary | None = None
    sampler: str = EULER
    guidance: Guidance | None = None
    notes: tuple[str, ...] = ()
    autoencoders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """What differs between families, as one record of facts and functions.

    recognise(checkpoint): the variant, or None when the checkpoint's network is not this family's.
    network(variant): the network with ComfyUI's calling convention, its weights not yet there (meta device).
    network_state(state): a state dict in any published layout -> the network's own key names.
    autoencoder(component, variant): a VAE in any published layout -> the loaded autoencoder (below), or None when it
        is not this family's. What its file does not tell is the variant's. The autoencoder has
        `grid`;
        `encoding(F)` and `decoding(T)`, which begin a pass over a clip of so many frames (streaming's CodingPass):
        pixels [B, 3, f, H, W] in -1..1 -> latents of its own, and back;
        `normalise(latents)`: its own latents -> as the network sees them, [B, C, T, h, w], about unit variance, and
        `denormalise(latents)`, the inverse;
        `encode_values(F)` and `decode_values`: about how many numbers it holds per pixel while it does that.
    autoencoder_version(component): which version of the family's autoencoder a VAE is, or "" when it is another's.
        None: there is one version.
    schedule(variant, steps, latent_shape): the sigmas [steps + 1] the reference pipeline would use, last one 0.
    sample(variant, prepare, noise, known, mask, *, steps, guidance, seed, callback): the family's own sampler, run
        instead of the chosen one. For each latent frame and size it calls prepare(frame, guidance, transformer_options)
        and gets velocity(x, timestep) with the prompts of that frame. None: any sampler of ComfyUI's.
    levels(variant): the sigmas of a v-prediction network's training timesteps, rising. None: flow matching.
    own_scheduler: what a folder's scheduler_config.json has where it is this family's: entry -> values it may have,
        the first of them where it is missing.
    text_encoders: the words a text encoder's file name usually has, best first, for finding one unasked.
    dynamic_guidance(guidance, timestep, steps): the guidance at a timestep (0..999) of so many steps, for those whose
        authors let it change on the way. None: they do not.
    preview: the latent format of ComfyUI's whose preview colours fit these latents, where there is one; latents that
        neither it nor `Variant.colours` describes are shown in false colours.
    """

    name: str
    recognise: Callable[[Checkpoint], Variant | None]
    network: Callable[[Variant], torch.nn.Module]
    network_state: Callable[[State], State]
    autoencoder: Callable[[Component, Variant], torch.nn.Module | None]
    schedule: Callable[[Variant, int, Shape], torch.Tensor]
    levels: Callable[[Variant], torch.Tensor] | None = None
    sample: Callable[..., torch.Tensor] | None = None
    dynamic_guidance: Callable[[float, int, int], float] | None = None
    text_encoders: tuple[str, ...] = ("t5xxl", "t5-xxl", "t5_xxl", "t5")
    preview: str = ""
    own_scheduler: Mapping[str, tuple] = field(default_factory=dict)
    autoencoder_version: Callable[[Component], str] | None = None
