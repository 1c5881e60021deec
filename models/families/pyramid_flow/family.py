"""Pyramid Flow as families of this pack: its checkpoints, its networks and autoencoder as ComfyUI calls them.

miniflux and SD3 are two families, because they read other text and scale latents otherwise; all else is shared.
Sources: the model cards of rain1011/pyramid-flow-miniflux and -sd3.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import load_weights, without_weights
from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape, State
from ...contract.known_frames import KnownFrames
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Checkpoint, Component
from ...weights.scaled_fp8 import dequantised
from . import sampler
from .causal_vae import STATISTICS, CausalVideoVAE, LatentStatistics, denormalised, normalised
from .schedule import stage_sigmas
from .transformer import PATCH, Layout, PyramidDiffusionMMDiT, PyramidFluxTransformer

# Two halvings and a patch of 2: sides are multiples of 8 latent pixels.
GRID = Grid(channels=16, temporal=8, spatial=8, patch=(1, 8))
TEXT = Text(tokens=128, encoder_sees_padding=False)
NEGATIVE = (
    "cartoon style, worst quality, low quality, blurry, absolute black, absolute white, low res, extra limbs, "
    "extra digits, misplaced objects, mutated anatomy, monochrome, horror"
)
RECIPES = {
    "384p": Recipe(640, 384, 121, fps=24, steps=10, guidance=5.0, negative_prompt=NEGATIVE),
    "768p": Recipe(1280, 768, 121, fps=24, steps=10, guidance=5.0, negative_prompt=NEGATIVE),
    "image": Recipe(1024, 1024, 1, fps=24, steps=10, guidance=6.5, negative_prompt=NEGATIVE),
}
TRAINED_FRAMES = {"384p": 16, "768p": 31, "image": 1}  # latent frames
# As the authors' own scripts code it where memory is short, which changes nothing.
DECODE_WINDOW, ENCODE_WINDOW = (2, 1), (17, 16)  # frames of the first piece and of each that follows
# Of the published networks: what tells miniflux from FLUX.1, whose keys are the same.
HEAD_WIDTH = 64
# Where in transformer_options the network finds what it sees beside the noisy frame.
OPTION = "pyramid_flow"

# ------------------------------------------------------------------------------------------------ network


@dataclass(frozen=True)
class Seen:
    """What the network sees beside the noisy frame, in transformer_options[OPTION]: made once per stage.

    history: clean clips [B, C, T, h, w], oldest first. layouts: the Layout for each combination of prompts.
    """

    history: Sequence[torch.Tensor]
    layouts: dict[Any, Layout] = field(default_factory=dict)


class PyramidNetwork(ComfyNetwork):
    """What ComfyUI hands a network -> what either transformer reads."""

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any],
        attention_mask: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, 1, h, w] of a noisy latent frame x, whose history is in transformer_options.

        timestep: [B], 0..1000. context: T5's text [B, tokens, width], of which attention_mask [B, tokens] marks (1)
        what is prompt. y: CLIP's pooled text [B, width]. Raises ValueError when the pooled text is another model's.
        """
        encoders = " and ".join(self.pooled)
        width, found = self.config.pooled_projection_dim, 0 if y is None else y.shape[-1]
        if found != width:
            raise ValueError(
                f"Pyramid Flow {self.label} reads CLIP's pooled text {width} wide ({encoders}); this conditioning "
                f"has {found or 'none'}. Encode the prompt with the CLIP that was loaded together with this model."
            )
        seen = transformer_options.get(OPTION) or Seen([])
        clips = [clip.to(x).repeat(x.shape[0] // clip.shape[0], 1, 1, 1, 1) for clip in seen.history] + [x]
        mask = context.new_ones(context.shape[:2]) if attention_mask is None else attention_mask
        prompts = tuple(map(tuple, mask.tolist()))
        if prompts not in seen.layouts:
            seen.layouts[prompts] = self.layout([clip.shape for clip in clips], mask)
        return self.reference(clips, timestep, context, y, seen.layouts[prompts])


class MinifluxNetwork(PyramidNetwork, PyramidFluxTransformer):
    """miniflux as ComfyUI calls it. Parameter names are the published ones."""

    published, label, text_norm, embedder = "PyramidFluxTransformer", "miniflux", "norm_added", "x_embedder"
    pooled = ("clip_l",)


class SD3Network(PyramidNetwork, PyramidDiffusionMMDiT):
    """SD3 as ComfyUI calls it. Parameter names are the published ones."""

    published, label, text_norm, embedder = "PyramidDiffusionMMDiT", "SD3", "norm_add", "pos_embed.proj"
    pooled = ("clip_l", "clip_g")


def build_network(kind: type, variant: Variant) -> torch.nn.Module:
    with without_weights():
        return kind(**variant.network)


def network_state(state: State) -> State:
    """Published or training checkpoint -> the network's keys; SD3's table of positions is made where it is left out."""
    others = ("vae.", "text_encoder")
    state = {key.removeprefix("dit."): weight for key, weight in state.items() if not key.startswith(others)}
    if "pos_embed.proj.weight" in state and "pos_embed.pos_embed" not in state:
        defaults = inspect.signature(PyramidDiffusionMMDiT).parameters
        side, base = defaults["pos_embed_max_size"].default, defaults["sample_size"].default // PATCH
        table = get_2d_sincos_pos_embed(state["pos_embed.proj.weight"].shape[0], side, base_size=base)
        state["pos_embed.pos_embed"] = table.float()[None]
    return state


# ------------------------------------------------------------------------------------------------ recognising


def recognise(kind: type, checkpoint: Checkpoint) -> Variant | None:
    """The variant of a folder or file with this kind of network, from config or keys; None when it is another."""
    network = checkpoint.network
    if network.config:
        if network.config.get("_class_name") != kind.published:
            return None
        config = {key: value for key, value in network.config.items() if key in inspect.signature(kind).parameters}
    else:
        shapes = {key.removeprefix("dit."): shape for key, shape in network.shapes.items()}
        own = {f"{kind.embedder}.weight", "time_text_embed.text_embedder.linear_1.weight"}
        if shapes.get(f"transformer_blocks.0.attn.{kind.text_norm}_q.weight") != (HEAD_WIDTH,) or own - shapes.keys():
            return None
        config = _network_config(shapes)
    size = next((size for size in ("384p", "image") if size in checkpoint.path.name.lower()), "768p")
    text = replace(
        TEXT,
        channels=config.get("joint_attention_dim", TEXT.channels),
        pooled=kind.pooled,
        pooled_projected="clip_g" in kind.pooled,
    )
    name = f"Pyramid Flow {kind.label} {size}"
    told = checkpoint.recipe.get("frames")
    scheduler = {"trained_frames": GRID.latent_shape(8, 8, told)[2] if told else TRAINED_FRAMES[size]}
    return Variant(name, GRID, RECIPES[size], config, text, KnownFrames(about=""), scheduler)


def _network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """A network's arguments, read from the shapes of its weights; the rest is as published."""
    pooled, text = shapes["time_text_embed.text_embedder.linear_1.weight"], shapes["context_embedder.weight"]
    config = {
        "num_layers": _blocks(shapes, "transformer_blocks"),
        "num_attention_heads": text[0] // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "joint_attention_dim": text[1],
        "pooled_projection_dim": pooled[1],
    }
    singles = _blocks(shapes, "single_transformer_blocks")
    return config | ({"num_single_layers": singles} if singles else {})


def _blocks(shapes: dict[str, Shape], stem: str) -> int:
    return len({key.removeprefix(f"{stem}.").split(".")[0] for key in shapes if key.startswith(f"{stem}.")})


# ------------------------------------------------------------------------------------------------ autoencoder


class PyramidAutoencoder(torch.nn.Module):
    """The causal VAE between pixels and latents as one variant's network sees them, in chunks and tiles."""

    grid = replace(GRID, patch=(1, 1))
    decode_values = 13110.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: CausalVideoVAE, statistics: LatentStatistics) -> None:
        super().__init__()
        self.vae, self.statistics = vae, statistics

    def encode_values(self, frames: int) -> float:
        return 15160.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mean of the posterior."""
        step, (first, following) = self.vae.encoder_step(), ENCODE_WINDOW
        return CodingPass(pieces(first, following, frames), lambda piece, last: step(piece, last).chunk(2, dim=1)[0])

    def decoding(self, frames: int) -> CodingPass:
        """Latents of the VAE's own -> pixels."""
        return CodingPass(pieces(*DECODE_WINDOW, frames), self.vae.decoder_step())

    def normal(self, latents: torch.Tensor) -> torch.Tensor:
        return normalised(latents, self.statistics)

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        return denormalised(latents, self.statistics)


def build_autoencoder(
    statistics: LatentStatistics, component: Component, variant: Variant
) -> PyramidAutoencoder | None:
    """The VAE of a published folder or file, with its weights; None when it is another's."""
    if component.config and component.config.get("_class_name") != CausalVideoVAE.__name__:
        return None
    if "decoder.up_blocks.0.temporal_upsamplers.0.conv.conv.weight" not in component.shapes:
        return None
    config, known = component.config or _vae_config(component.shapes), inspect.signature(CausalVideoVAE).parameters
    with without_weights():
        vae = CausalVideoVAE(**{key: value for key, value in config.items() if key in known})
    load_weights(vae, dequantised(component.state_dict()), torch.float32, torch.float32)
    return PyramidAutoencoder(vae, statistics)


def _vae_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """An autoencoder's arguments, read from the shapes of its weights; the rest is as published."""
    config = {}
    for half, stem, outwards in (("encoder", "encoder.down_blocks", 1), ("decoder", "decoder.up_blocks", -1)):
        levels = [f"{stem}.{n}.resnets" for n in range(_blocks(shapes, stem))]
        widths = [shapes[f"{level}.0.conv1.conv.weight"][0] for level in levels]
        config[f"{half}_block_out_channels"] = widths[::outwards]
        config[f"{half}_layers_per_block"] = [_blocks(shapes, level) for level in levels]
    return config


# ------------------------------------------------------------------------------------------------ sampling


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """The sigmas [steps + 1] of one stage of a frame; all stages of all frames after the first have the same."""
    return torch.tensor(stage_sigmas(steps))


def settings(steps: int, guidance: float) -> sampler.Settings:
    """What one number of steps and one guidance mean: those of the frames after the first.

    The first frame gets twice the steps and the stronger guidance that the authors give it: 7 where the others get 5,
    and none where the others get none (1).
    """
    return sampler.Settings((2 * steps,) * 3, (steps,) * 3, 1 + 1.5 * (guidance - 1), guidance)


def sample_shot(
    variant: Variant,
    prepare: Callable[[int, float, dict[str, Any]], sampler.Velocity],
    noise: torch.Tensor,
    known: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    steps: int,
    guidance: float,
    seed: int,
    callback: Callable[[sampler.Progress], None],
) -> torch.Tensor:
    """Fill the holes of a shot: latents [B, C, T, h, w] from noise of that shape, frame by frame.

    prepare(frame, guidance, options) -> the guided network with the frame's prompts, options going into its
    transformer_options.
    known, mask: as in LATENT, mask [B, 1 or C, T, h, w] or None; a frame stays, as history for those after it, when its
    mask is nearer to 0 (keep) than to 1 (make) everywhere. Raises ValueError when the image model is asked for a video.
    """
    _check_length(variant, noise.shape[2])
    if mask is None and known.any():
        logging.warning(
            "Atelier: %s makes a clip frame by frame and cannot change a given one a little: it is made anew. Keep "
            "frames of it with Place Frames.",
            variant.name,
        )
    logging.info(
        "Atelier: %s takes %d steps at each of its %d resolutions for every latent frame, twice as many for a first "
        "frame; sampler, scheduler and denoise are its own.",
        variant.name,
        steps,
        len(sampler.STAGES),
    )
    chosen = settings(steps, guidance)
    make = None if mask is None else _frames_to_make(variant, mask)

    def prepare_stage(frame: int, history: list[torch.Tensor], shape: torch.Size) -> sampler.Velocity:
        return prepare(frame, chosen.guidance_of(frame), {OPTION: Seen(history)})

    # Another seed than the shot's own noise has: the same would repeat its first values.
    block_noise = sampler.seeded_block_noise(seed ^ 1)
    return sampler.sample(prepare_stage, noise, chosen, block_noise, known, make, callback)


def _frames_to_make(variant: Variant, mask: torch.Tensor) -> list[bool]:
    """Per latent frame whether it is made; what of the mask [B, 1 or C, T, h, w] cannot be followed is said."""
    make = [bool(frame.max() > 0.5) for frame in mask.unbind(2)]
    if any(frame.min() <= 0.5 for frame, made in zip(mask.unbind(2), make, strict=True) if made):
        logging.warning(
            "Atelier: %s makes whole frames: those of which the mask keeps only a part are made anew.", variant.name
        )
    if True in make and False in make[make.index(True) :]:
        logging.warning(
            "Atelier: %s looks back only: the frames before a kept one do not lead to it. Keep the first frames, or "
            "use LTX Video for last frames and frames in between.",
            variant.name,
        )
    return make


def _check_length(variant: Variant, frames: int) -> None:
    trained = variant.scheduler["trained_frames"]
    if frames > trained == 1:
        raise ValueError(
            f"{variant.name} makes single pictures, but this latent has {frames} frames. Set frames to 1, or load a "
            "video model (384p, 768p)."
        )
    if frames > trained:
        logging.warning(
            "Atelier: %s was trained on clips of up to %d frames; of these %d, the later ones may drift.",
            variant.name,
            GRID.frames(trained),
            GRID.frames(frames),
        )


def _family(name: str, kind: type, statistics: LatentStatistics) -> Family:
    return Family(
        name=name,
        recognise=partial(recognise, kind),
        network=partial(build_network, kind),
        network_state=network_state,
        autoencoder=partial(build_autoencoder, statistics),
        schedule=schedule,
        sample=sample_shot,
    )


FAMILIES = (
    _family("Pyramid Flow miniflux", MinifluxNetwork, STATISTICS["miniflux"]),
    _family("Pyramid Flow SD3", SD3Network, STATISTICS["sd3"]),
)
