"""Mochi 1 preview (Genmo): diffusers' network and autoencoder, the linear-quadratic schedule, original file layouts.

Sources: the model card of genmo/mochi-1-preview (85 frames) and Genmo's own settings, demos/cli.py of
github.com/genmoai/mochi (848 x 480, 64 steps, guidance 4.5, up to 163 frames at 30 fps).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLMochi, MochiTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import load_weights, without_weights
from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape, State
from ...contract.known_frames import KnownFrames
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Checkpoint, Component, open_component
from ...weights.errors import CheckpointError
from ...weights.key_names import exchange, renamed
from ...weights.scaled_fp8 import dequantised

GRID = Grid(channels=12, temporal=6, spatial=8, patch=(1, 2))
RECIPE = Recipe(848, 480, 85, fps=30, steps=64, guidance=4.5)
# Genmo's code gives an empty (negative) prompt to neither the encoder nor the network.
TEXT = Text(tokens=256, encoder_sees_padding=False, empty_is_nothing=True)
# ComfyUI's shift for Mochi under ComfyUI's own schedulers. Mochi's schedule has none.
SCHEDULER = {"shift": 6.0}
# The first half of the steps is linear, from pure noise to where this share of it is gone.
LINEAR_SHARE = 0.025
TIMESTEPS = 1000
DECODE_WINDOW = (1, 1)  # latent frames of the first piece and of each that follows
# The encoder attends to every frame before: at most to as many as its authors sample (163), of a longer clip's later
# parts to 43 and more.
ENCODE_WINDOW, LOOK_BACK = (163, 120), 43


# ------------------------------------------------------------------------------------------------ network


class MochiNetwork(ComfyNetwork, MochiTransformer3DModel):
    """diffusers' Mochi transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W], towards noise.

        timestep: [B], 1000 is noise. context: text [B, tokens, width], of which attention_mask [B, tokens] marks (1)
        what is prompt. Mochi itself counts time from noise to clip, and its velocity points that way.
        """
        mask = context.new_ones(context.shape[:2]) if attention_mask is None else attention_mask
        read = _prompt_length(mask)
        return -self.reference(
            hidden_states=x,
            encoder_hidden_states=context[:, :read],
            timestep=TIMESTEPS - timestep,
            encoder_attention_mask=mask[:, :read].bool(),
            return_dict=False,
        )[0]


def _prompt_length(mask: torch.Tensor) -> int:
    """How many of the tokens [B, tokens] go up to the last one that is prompt: nothing reads those behind it."""
    prompt = mask.any(dim=0).nonzero()
    return int(prompt.max()) + 1 if len(prompt) else 1


def build_network(variant: Variant) -> MochiNetwork:
    with without_weights():
        return MochiNetwork(**variant.network)


NETWORK_NAMES = (
    (r"^x_embedder\.", "patch_embed."),
    (r"^t_embedder\.mlp\.0\.", "time_embed.timestep_embedder.linear_1."),
    (r"^t_embedder\.mlp\.2\.", "time_embed.timestep_embedder.linear_2."),
    (r"^t5_y_embedder\.", "time_embed.pooler."),
    (r"^t5_yproj\.", "time_embed.caption_proj."),
    (r"^final_layer\.mod\.", "norm_out.linear."),
    (r"^final_layer\.linear\.", "proj_out."),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.mod_x\.", ".norm1.linear."),
    (r"\.mod_y\.", ".norm1_context.linear."),
    (r"\.attn\.qkv_x\.", ".attn1.to_{}."),
    (r"\.attn\.qkv_y\.", ".attn1.add_{}_proj."),
    (r"\.attn\.([qk])_norm_x\.", r".attn1.norm_\1."),
    (r"\.attn\.([qk])_norm_y\.", r".attn1.norm_added_\1."),
    (r"\.attn\.proj_x\.", ".attn1.to_out.0."),
    (r"\.attn\.proj_y\.", ".attn1.to_add_out."),
    (r"\.mlp_x\.w1\.", ".ff.net.0.proj."),
    (r"\.mlp_x\.w2\.", ".ff.net.2."),
    (r"\.mlp_y\.w1\.", ".ff_context.net.0.proj."),
    (r"\.mlp_y\.w2\.", ".ff_context.net.2."),
)


def network_state(state: State) -> State:
    """Original (Genmo) or diffusers key names -> diffusers key names. Weights are changed in place."""
    if not any(key.startswith("blocks.") for key in state):
        return state
    # The last block does not write text, so its text norm is another class, with another name in diffusers.
    last = f"transformer_blocks.{_layers(state) - 1}.norm1_context.linear"
    out = {}
    for key in list(state):
        weight, name = state.pop(key), renamed(key, NETWORK_NAMES).replace(f"{last}.", f"{last}_1.")
        if ".net.0.proj." in name or name.startswith("norm_out."):
            # diffusers has the gate after what it gates, and scale before shift.
            exchange(*weight.chunk(2))
        out |= _split(name, weight)
    return out


def _split(name: str, weight: torch.Tensor) -> State:
    """Queries, keys and values from one matrix, where the name has a place for their letters."""
    if "{}" not in name:
        return {name: weight}
    return {name.format(part): rows for part, rows in zip("qkv", weight.chunk(3), strict=True)}


def _layers(keys: Any) -> int:
    return 1 + max(int(found[1]) for key in keys if (found := re.match(r"(?:transformer_)?blocks\.(\d+)\.", key)))


# ------------------------------------------------------------------------------------------------ recognising


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """Mochi 1, from config or keys; None when it is another model."""
    network = checkpoint.network
    if network.config:
        if network.config.get("_class_name") != "MochiTransformer3DModel":
            return None
        config = network.arguments
    elif {"t5_yproj.weight", "time_embed.caption_proj.weight"} & network.shapes.keys():
        config = _network_config(network.shapes)
    else:
        return None
    return Variant(
        name="Mochi 1",
        grid=GRID,
        recipe=RECIPE,
        network=config,
        text=replace(TEXT, channels=config.get("text_embed_dim", TEXT.channels)),
        known_frames=KnownFrames(),
        scheduler=SCHEDULER,
    )


def _network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes."""
    named = {renamed(key, NETWORK_NAMES): shape for key, shape in shapes.items()}
    _, heads, frequencies = named["pos_frequencies"]
    pooled, text = named["time_embed.caption_proj.weight"]
    return {
        "num_attention_heads": heads,
        "attention_head_dim": 2 * frequencies,
        "num_layers": _layers(named),
        "pooled_projection_dim": pooled,
        "in_channels": named["patch_embed.proj.weight"][1],
        "text_embed_dim": text,
        "time_embed_dim": named["time_embed.timestep_embedder.linear_1.weight"][1],
    }


# ------------------------------------------------------------------------------------------------ schedule


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] as MochiPipeline has them: linear at first, then a parabola that goes on with its slope."""
    linear = steps // 2
    rest = steps - linear
    slope = LINEAR_SHARE / linear if linear else 0.0
    start = slope * linear
    bend = (1 - start - slope * rest) / rest**2
    gone = [slope * n for n in range(linear)] + [start + slope * n + bend * n**2 for n in range(rest + 1)]
    return 1 - torch.tensor(gone, dtype=torch.float64).float()


# ------------------------------------------------------------------------------------------------ autoencoder


class RememberingConv(CogVideoXCausalConv3d):
    """A causal convolution of Mochi's decoder that goes on where the piece before ended.

    diffusers' own repeats the first frame in front of every piece, so its pieces do not fit together.
    """

    def forward(
        self, inputs: torch.Tensor, conv_cache: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, C, T, H, W] of a piece and the end of the one before -> [B, C', T, H, W], the end of this."""
        before = self.time_kernel_size - 1
        if conv_cache is None:
            conv_cache = inputs[:, :, :1].expand(-1, -1, before, -1, -1)
        inputs = torch.cat([conv_cache, inputs], dim=2)
        kept = inputs[:, :, inputs.shape[2] - before :].clone()  # a view would hold the whole piece
        *sides, _, _ = self.time_causal_padding
        return self.conv(torch.nn.functional.pad(inputs, (*sides, 0, 0), mode="replicate")), kept


class MochiAutoencoder(torch.nn.Module):
    """diffusers' Mochi autoencoder between pixels and the normalised latents the network sees."""

    decode_values = 11650.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLMochi) -> None:
        super().__init__()
        self.vae = vae
        for layer in vae.decoder.modules() if vae.decoder else ():
            if isinstance(layer, CogVideoXCausalConv3d):
                layer.__class__ = RememberingConv
        temporal, spatial = vae.temporal_compression_ratio, vae.spatial_compression_ratio
        self.grid = Grid(vae.config.latent_channels, temporal, spatial)

    def encode_values(self, frames: int) -> float:
        return 328.0 * min(frames, ENCODE_WINDOW[0])  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior. In one piece up to 163 frames, then in pieces that overlap.

        What an attention over every earlier frame keeps of them is as much as the frames themselves take on their way
        through, so that pieces which carry it along would save nothing.
        """
        if self.vae.encoder is None:
            raise CheckpointError(
                "This Mochi VAE is the decoder alone, so images cannot be placed into a shot. Put the encoder's file "
                "beside it in models/vae."
            )
        before = None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal before
            seen = piece if before is None else torch.cat([before, piece], dim=2)
            made = self.vae.encoder(seen)[0].chunk(2, dim=1)[0]
            known = 0 if before is None else LOOK_BACK // self.grid.temporal + 1
            before = None if last else seen[:, :, -LOOK_BACK:].clone()  # a view would hold the whole piece
            return made[:, :, known:]

        return CodingPass(pieces(*ENCODE_WINDOW, frames), step)

    def decoding(self, frames: int) -> CodingPass:
        """The decoder's latents -> pixels."""
        if self.vae.decoder is None:
            raise CheckpointError(
                "This Mochi VAE is the encoder alone, which makes no pictures. Put the decoder's file beside it in "
                "models/vae."
            )
        cache = None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            begins = cache is None
            pixels, cache = self.vae.decoder(piece, conv_cache=cache)
            return pixels[:, :, self.grid.temporal - 1 :] if begins else pixels

        return CodingPass(pieces(*DECODE_WINDOW, frames), step)

    def normal(self, latents: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latents)
        return latents * std + mean

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-channel mean and standard deviation of the latents, [1, C, 1, 1, 1] each."""
        config, shape = self.vae.config, (1, -1, 1, 1, 1)
        mean, std = (like.new_tensor(values).view(shape) for values in (config.latents_mean, config.latents_std))
        return mean, std / config.scaling_factor


def build_autoencoder(component: Component, variant: Variant) -> MochiAutoencoder | None:
    """Mochi's VAE in diffusers' or the original layout, with its weights; None when it is another's.

    The original comes as two files, encoder and decoder: of one, the other is looked for beside it.
    """
    config = component.arguments
    if component.config and component.config.get("_class_name") != "AutoencoderKLMochi":
        return None
    shapes = _vae_shapes(component)
    halves = [half for half in HALVES if MARKS[half] in shapes]
    if not halves:
        return None
    state = vae_state(dequantised(component.state_dict()))
    for other in _other_half(component, halves):
        shapes |= _vae_shapes(other)
        state |= vae_state(dequantised(other.state_dict()))
    with without_weights():
        vae = AutoencoderKLMochi(**(config or vae_config(shapes)))
    for half in HALVES:
        if MARKS[half] not in shapes:
            setattr(vae, half, None)
    load_weights(vae, state, torch.float32, torch.float32)
    return MochiAutoencoder(vae)


HALVES = ("encoder", "decoder")
# What tells Mochi's autoencoder from others': linear layers at its ends.
MARKS = {"encoder": "encoder.block_in.resnets.0.conv1.conv.weight", "decoder": "decoder.up_blocks.0.proj.weight"}
# Original names in a residual block, and diffusers' names in the group the block belongs to.
RESIDUAL = {
    "stack.0.": "resnets.{}.norm1.norm_layer.",
    "stack.2.": "resnets.{}.conv1.conv.",
    "stack.3.": "resnets.{}.norm2.norm_layer.",
    "stack.5.": "resnets.{}.conv2.conv.",
    "attn_block.norm.": "norms.{}.norm_layer.",
    "attn_block.attn.qkv.": "attentions.{}.to_{{}}.",
    "attn_block.attn.out.": "attentions.{}.to_out.0.",
}
ENDS = (
    (r"^encoder\.layers\.0\.", "encoder.proj_in."),
    (r"^encoder\.output_norm\.", "encoder.norm_out.norm_layer."),
    (r"^decoder\.blocks\.0\.0\.", "decoder.conv_in."),
    (r"^(encoder|decoder)\.output_proj\.", r"\1.proj_out."),
)


def _other_half(component: Component, halves: list[str]) -> list[Component]:
    """The file beside this one that has the half it lacks, if there is one."""
    if len(halves) == 2 or not component.files:
        return []
    (missing,) = set(HALVES) - set(halves)
    for path in sorted(Path(component.files[0]).parent.glob("*.safetensors")):
        try:
            other = open_component(path, "VAE", ("vae.", ""))
        except CheckpointError:
            continue
        if {half for half in HALVES if MARKS[half] in _vae_shapes(other)} == {missing}:
            return [other]
    return []


def _vae_shapes(component: Component) -> dict[str, Shape]:
    """Shapes under diffusers' names; none when it is no autoencoder of Mochi's."""
    shapes = component.shapes
    if not any(".stack.5." in key or key in MARKS.values() for key in shapes):
        return {}
    return {vae_name(key, shapes): shape for key, shape in shapes.items()}


def vae_state(state: State) -> State:
    """Original (Genmo) or diffusers key names -> diffusers key names."""
    out = {}
    for key, weight in state.items():
        out |= _split(vae_name(key, state), weight)
    return out


def vae_name(key: str, keys: Any) -> str:
    """diffusers' name of an original key; `{}` stands where queries, keys and values are still one matrix.

    keys: all there are. They tell which half it is, and where one group of blocks ends.
    """
    half = "encoder" if "layers.0.weight" in keys else "decoder" if "blocks.0.0.weight" in keys else ""
    key = f"{half}.{key}" if half else key
    found = re.match(r"encoder\.layers\.(\d+)\.(?:layers\.(\d+)\.)?(stack.*|attn_block.*|weight|bias)$", key)
    if found and found[1] != "0":
        return _encoder_name(int(found[1]), found[2], found[3], keys)
    found = re.match(r"decoder\.blocks\.(\d+)\.(?:blocks\.(\d+)|proj|(\d+))\.(.*)$", key)
    if found and not (found[1] == "0" and found[3] == "0"):
        return _decoder_name(*found.groups(), keys)
    return renamed(key, ENDS)


def _encoder_name(layer: int, inner: str | None, rest: str, keys: Any) -> str:
    """encoder.layers.LAYER: blocks, then groups of blocks that begin by shrinking, then blocks."""
    shrinking = sorted(
        int(found[1]) for key in keys if (found := re.match(r"(?:encoder\.)?layers\.(\d+)\.layers\.0\.weight$", key))
    )
    if inner == "0":
        return f"encoder.down_blocks.{shrinking.index(layer)}.conv_in.conv.{rest}"
    if inner:
        return _residual(f"encoder.down_blocks.{shrinking.index(layer)}", int(inner) - 1, rest)
    if layer < shrinking[0]:
        return _residual("encoder.block_in", layer - 1, rest)
    return _residual("encoder.block_out", layer - shrinking[-1] - 1, rest)


def _decoder_name(group: str, inner: str | None, number: str | None, rest: str, keys: Any) -> str:
    """decoder.blocks.GROUP: blocks after a convolution, then groups that grow at their end, then blocks."""
    if inner:
        return _residual(f"decoder.up_blocks.{int(group) - 1}", int(inner), rest)
    if number is None:
        return f"decoder.up_blocks.{int(group) - 1}.proj.{rest}"
    if group == "0":
        return _residual("decoder.block_in", int(number) - 1, rest)
    return _residual("decoder.block_out", int(number), rest)


def _residual(group: str, number: int, rest: str) -> str:
    part = next(part for part in RESIDUAL if rest.startswith(part))
    return f"{group}.{RESIDUAL[part].format(number)}{rest[len(part) :]}"


def vae_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The autoencoder's arguments, from the shapes under diffusers' names of at least one half."""
    depths, config = {}, {}
    if MARKS["encoder"] in shapes:
        groups = ["encoder.block_in", *(f"encoder.down_blocks.{n}" for n in range(3)), "encoder.block_out"]
        config["latent_channels"] = shapes["encoder.proj_out.weight"][0] // 2
        config["encoder_block_out_channels"] = _widths(shapes, groups[:4])
        depths = _depths(shapes, groups)
    if MARKS["decoder"] in shapes:
        groups = ["decoder.block_out", *(f"decoder.up_blocks.{n}" for n in (2, 1, 0)), "decoder.block_in"]
        config["latent_channels"] = shapes["decoder.conv_in.weight"][1]
        config["decoder_block_out_channels"] = _widths(shapes, groups[:4])
        depths = _depths(shapes, groups)
    return {**config, "layers_per_block": depths}


def _widths(shapes: dict[str, Shape], groups: list[str]) -> tuple[int, ...]:
    return tuple(shapes[f"{group}.resnets.0.conv1.conv.weight"][1] for group in groups)


def _depths(shapes: dict[str, Shape], groups: list[str]) -> tuple[int, ...]:
    return tuple(sum(f"{group}.resnets.{n}.conv1.conv.weight" in shapes for n in range(64)) for group in groups)


FAMILY = Family(
    name="Mochi 1",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    preview="Mochi",
)
