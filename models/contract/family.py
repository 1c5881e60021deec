"""The contract that every model family fulfils: grid, recipe, text, schedule, parts and known frames.

This file names no family and imports nothing heavy. Code that has a MODEL reads `model.model.family` and
`model.model.variant` instead of testing which model it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..weights.checkpoint import Checkpoint, Component
from .colours import Colours
from .grid import Grid, Shape, SoundGrid, State
from .guidance import Guidance, SecondPass, StreamGuidance
from .known_frames import KnownFrames
from .vocabulary import Vocabulary

EULER = "euler"
WEIGHT_DTYPES = ("default", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class Recipe:
    """Settings that the model's authors recommend. `width` and `height` are in pixels, `guidance` is the CFG scale."""

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

    `encoder`: the kind of text encoder, "t5" or "gemma3". Gemma reads at most `tokens` tokens, without padding.
    `encoder_sees_padding`: the text encoder attends to the padding. `network_sees_padding`: the network attends to it,
    so the text has no mask. `empty_is_nothing`: an empty prompt is all padding, without even an end token. `pooled`:
    the CLIP encoders ("clip_l", "clip_g") whose pooled output is passed beside the text, taken after their projection
    (`pooled_projected`) or before it. `style`: the style (styles.json) that the authors add to every prompt, or "".
    `relayed`: the network can read each prompt of a text at its own time (Prompt Relay).
    """

    tokens: int
    channels: int = 4096
    encoder_sees_padding: bool = True
    network_sees_padding: bool = False
    empty_is_nothing: bool = False
    pooled: tuple[str, ...] = ()
    pooled_projected: bool = True
    style: str = ""
    encoder: str = "t5"
    relayed: bool = False


@dataclass(frozen=True)
class Variant:
    """One checkpoint of a family: its name, its grid and its settings.

    `network` holds the arguments of the family's network class. `scheduler` configures the family's schedule.
    `known_frames` is how known frames reach the network. `dtypes` are the dtypes it can compute in, best first.
    `colours` are preview colours fitted to this checkpoint. `vocabulary` lists its words if it knows only a few.
    `sampler` is the sampler its authors use, by ComfyUI's name. `guidance` is their guidance level by level, or for
    picture and sound, if one number cannot express it. `second_pass` is what they run after enlarging a clip's latents.
    `notes` tell an artist about it, for example what was assumed because the file does not say. `autoencoders` are the
    versions of the family's autoencoder whose latents it was trained on, best first, if the family has several. `sound`
    is the grid of its sound latents if it generates sound with the picture: its LATENT then has two streams.
    `frame_rates` are the ranges (least, most) that it was trained on, if others do harm.
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
    guidance: Guidance | StreamGuidance | None = None
    second_pass: SecondPass | None = None
    notes: tuple[str, ...] = ()
    autoencoders: tuple[str, ...] = ()
    sound: SoundGrid | None = None
    frame_rates: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of a model that is neither network, VAE nor text encoder.

    mark: a file has it if a key contains this; a network whose keys contain it has it inside. prefix: what is cut off
    the keys of a separate file, of which only keys with it are taken. folder: the kind of ComfyUI's model folders in
    which separate files are. noun: what messages call it.
    """

    mark: str
    prefix: str
    folder: str
    noun: str


@dataclass(frozen=True)
class Family:
    """Everything that differs between families, as one record of facts and functions.

    recognise(checkpoint): the variant, or None if the checkpoint's network is not this family's.
    network(variant): the network with ComfyUI's calling convention, without weights (on the meta device). If
        `Variant.network` is empty, it is one of the published networks.
    network_state(state): a state dict in any published layout -> the same weights under the network's own key names.
    autoencoder(component, variant): a VAE in any published layout -> the loaded autoencoder, or None if it is not this
        family's. Settings that the VAE's file does not state come from the variant. The autoencoder has
        `grid`;
        `encoding(F)` and `decoding(T)`, which start a pass (streaming's CodingPass) over a clip of F frames or T latent
        frames: pixels [B, 3, f, H, W] in -1..1 -> raw latents, and back;
        `normalise(latents)`: raw latents -> what the network reads, [B, C, T, h, w], about unit variance, and
        `denormalise(latents)`, the inverse;
        `encode_values(F)` and `decode_values`: roughly how many numbers it keeps in memory per pixel during a pass.
    autoencoder_version(component): the version of the family's autoencoder that a VAE is, or "" if it is another
        family's. None: there is only one version.
    schedule(variant, steps, latent_shape): the sigmas [steps + 1] of the reference pipeline; the last one is 0.
    sample(variant, prepare, noise, known, mask, *, steps, guidance, seed, callback): the family's own sampler, run
        instead of the chosen one. For each latent frame and size it calls prepare(frame, guidance, transformer_options)
        and gets velocity(x, timestep) with the prompts of that frame. None: any of ComfyUI's samplers works.
    levels(variant): the sigmas of a v-prediction network's training timesteps, rising. None: flow matching.
    own_scheduler: the entries by which a folder's scheduler_config.json is recognised as this family's: entry -> its
        allowed values. A missing entry counts as the first of them.
    text_encoders: words that a text encoder's file name usually contains, best first, to find one automatically.
    dynamic_guidance(guidance, timestep, steps): the guidance at a timestep (0..999) of a run of `steps` steps, for
        families whose authors change it during the run. None: it is constant.
    upscaler(component): the network of a latent upscaler, without weights, or None if it is another family's. Its
        weights have the file's names under `network.`; see the bridge's make_upscaler. None: there are no upscalers.
    preview: ComfyUI's latent format whose preview colours fit these latents, or "". Latents that neither it nor
        `Variant.colours` describes are previewed in false colours.
    parts: further parts of its models by name. loading finds them and passes those that exist.
    network_parts: the names of those whose weights belong to the network. `network_state` gets their keys with the
        part's name and a point in front.
    text_projection(parts, variant): a module that turns the hidden states of all of Gemma's layers, [tokens, width,
        layers], into text [tokens, Text.channels]. Only for families whose text encoder is Gemma.
    sound(parts, variant): the coder of the sound, for variants that have sound. It has `grid` (a SoundGrid), `rate`
        (samples a second of what it decodes), `decode(latents [B, C, L, bins])` -> waves [B, 2, samples], and
        `encode(waves [B, channels, samples], rate, L)` -> latents [B, C, L, bins].
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
    upscaler: Callable[[Component], torch.nn.Module | None] | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    network_parts: tuple[str, ...] = ()
    text_projection: Callable[[Mapping[str, Component], Variant], torch.nn.Module] | None = None
    sound: Callable[[Mapping[str, Component], Variant], torch.nn.Module] | None = None
