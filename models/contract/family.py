"""The contract every model family fulfils: its grid, recipe, text, schedule, parts and its way with known frames.

No family is named here and nothing heavy is imported. Whoever holds a MODEL asks `model.model.family` and
`model.model.variant` these questions instead of asking which model it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ..weights.checkpoint import Checkpoint, Component
    from .colours import Colours
    from .known_frames import Knowns
    from .vocabulary import Vocabulary

WEIGHT_DTYPES = ("default", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")

Shape = tuple[int, ...]
State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Grid:
    """How pixels map to latents: `channels` latent channels, one latent frame per `temporal` frames after the first.

    A clip of F frames, W x H pixels, has latents [channels, (F - 1) / temporal + 1, H / spatial, W / spatial]. The
    autoencoder takes the latent frames after the first in groups of `group`. The network takes `patch` latent frames
    and latent pixels (a side) as one token; that is no part of what an autoencoder is, so it is not compared.
    """

    channels: int
    temporal: int
    spatial: int
    group: int = 1
    patch: tuple[int, int] = field(default=(1, 1), compare=False)

    def legal_frames(self, frames: float) -> int:
        """The legal frame count nearest to `frames`; at least one."""
        step = self.temporal * self.group
        return max(0, round((frames - 1) / step)) * step + 1

    def legal_side(self, pixels: float) -> int:
        """The legal width or height nearest to `pixels`; at least one token."""
        step = self.spatial * self.patch[1]
        return max(1, round(pixels / step)) * step

    def latent_shape(self, width: int, height: int, frames: int, batch: int = 1) -> Shape:
        """Shape [B, C, T, H, W] of the latents of a clip whose size is legal."""
        time = (frames - 1) // self.temporal + 1
        return (batch, self.channels, time, height // self.spatial, width // self.spatial)

    def frames(self, latent_frames: int) -> int:
        """How many frames `latent_frames` decode to."""
        return (latent_frames - 1) * self.temporal + 1

    def moment(self, latent_frame: int, fps: float) -> float:
        """The middle, in seconds, of the frames that the latent frame of this index decodes to."""
        first, last = max(0, self.frames(latent_frame)), latent_frame * self.temporal
        return (first + last + 1) / 2 / fps


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
    or before it.
    """

    tokens: int
    channels: int = 4096
    encoder_sees_padding: bool = True
    network_sees_padding: bool = False
    empty_is_nothing: bool = False
    pooled: tuple[str, ...] = ()
    pooled_projected: bool = True


@dataclass(frozen=True)
class Variant:
    """One checkpoint of a family: what it is called, how big its clips are and how it wants to be run.

    `network` holds the arguments of the family's network class, `scheduler` configures the family's schedule.
    `knowns` is how known frames reach the network; `dtypes` are the formats it can compute in, best first; `colours`
    what its latents look like, where that was fitted to this checkpoint; `vocabulary` the words it knows, where they
    are few.
    """

    name: str
    grid: Grid
    recipe: Recipe
    network: Mapping[str, Any]
    text: Text
    knowns: Knowns
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    colours: Colours | None = None
    vocabulary: Vocabulary | None = None


@dataclass(frozen=True)
class Family:
    """What differs between families, as one record of facts and functions.

    recognise(checkpoint): the variant, or None when the checkpoint's network is not this family's.
    network(variant): the network with ComfyUI's calling convention, its weights not yet there (meta device).
    network_state(state): a state dict in any published layout -> the network's own key names.
    autoencoder(component, variant): a VAE in any published layout -> the loaded autoencoder (below), or None when it
        is not this family's. What its file does not tell is the variant's. The autoencoder has `grid`;
        `encoding(F)` and `decoding(T)`, which begin a pass over a clip of so many frames (streaming.Pass): pixels
        [B, 3, f, H, W] in -1..1 -> latents of its own, and back; `normal(latents)`: its own latents -> as the network
        sees them, [B, C, T, h, w], about unit variance, and `raw(latents)`, the inverse; and `encode_values(F)`,
        `decode_values`: about how many numbers it holds per pixel of the picture while it does that.
    schedule(variant, steps, latent_shape): the sigmas [steps + 1] the reference pipeline would use, last one 0.
    sample(variant, prepare, noise, known, mask, *, steps, guidance, seed, callback): the family's own sampler, run
        instead of the chosen one. For each latent frame and size it calls prepare(frame, guidance, transformer_options)
        and gets velocity(x, timestep) with the prompts of that frame. None: any sampler of ComfyUI's.
    levels(variant): the sigmas of a v-prediction network's training timesteps, rising. None: flow matching.
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


def sigmas_for(family: Family, variant: Variant, steps: int, denoise: float, latent_shape: Shape) -> torch.Tensor:
    """The sigmas of `steps` steps (0 = the recipe's), with denoise below 1 only the end of a longer schedule.

    A family may know fewer levels than asked for (distilled models); then that share of what it has is used.
    """
    steps = steps or variant.recipe.steps
    total = int(steps / max(denoise, 1e-3))
    sigmas = family.schedule(variant, total, latent_shape)
    known = len(sigmas) - 1
    return sigmas[known - (steps if known == total else max(1, round(known * denoise))) :]


def denoise_for(family: Family, variant: Variant, noise: float, latent_shape: Shape) -> float:
    """The share of the schedule that begins at about this share of noise (0..1), whatever the schedule's shape.

    Half the steps of a shifted schedule begin with far more noise than half. The share is sigma for flow matching and
    sigma / (1 + sigma) for v-prediction, where the clip keeps its size and noise is added.
    """
    sigmas = family.schedule(variant, 1000, latent_shape)[:-1]
    shares = sigmas / (1 + sigmas) if family.levels else sigmas
    return 1 - int((shares - noise).abs().argmin()) / len(shares)


def shift_of_tokens(scheduler: Mapping[str, Any], tokens: int) -> float:
    """Flow matching's mu for a sequence of `tokens` tokens: linear between the scheduler's two reference lengths."""
    low, high = scheduler["base_image_seq_len"], scheduler["max_image_seq_len"]
    slope = (scheduler["max_shift"] - scheduler["base_shift"]) / (high - low)
    return scheduler["base_shift"] + slope * (tokens - low)
