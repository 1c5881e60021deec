"""Key names of published Mochi files: Genmo's layout -> diffusers', of the network and of the autoencoder."""

from __future__ import annotations

import re
from typing import Any

import torch

from ...contract.grid import State
from ...weights.key_names import blocks_of, exchange, renamed

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
    # The last block outputs no text, so its text norm is another class, with another name in diffusers. A LoRA, which
    # may change only some blocks, is converted together with the network's own names.
    layers = max(blocks_of(state, stem) for stem in ("blocks", "transformer_blocks"))
    last = f"transformer_blocks.{layers - 1}.norm1_context.linear"
    out = {}
    for key in list(state):
        weight, name = state.pop(key), renamed(key, NETWORK_NAMES).replace(f"{last}.", f"{last}_1.")
        if ".net.0.proj." in name or name.startswith("norm_out."):
            # In diffusers, the gate comes after what it multiplies, and scale before shift.
            exchange(*weight.chunk(2))
        out |= _split(name, weight)
    return out


def _split(name: str, weight: torch.Tensor) -> State:
    """Split a matrix of queries, keys and values, whose name has `{}` in place of their letters."""
    if "{}" not in name:
        return {name: weight}
    return {name.format(part): rows for part, rows in zip("qkv", weight.chunk(3), strict=True)}


HALVES = ("encoder", "decoder")
# Keys by which Mochi's autoencoder is recognised: linear layers at its ends.
MARKS = {"encoder": "encoder.proj_out.weight", "decoder": "decoder.up_blocks.0.proj.weight"}
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


def vae_state(state: State) -> State:
    """Original (Genmo) or diffusers key names -> diffusers key names."""
    out = {}
    for key, weight in state.items():
        out |= _split(vae_name(key, state), weight)
    return out


def vae_name(key: str, keys: Any) -> str:
    """diffusers' name of an original key. It has `{}` if queries, keys and values are still one matrix.

    keys: all keys of the file. They show which half of the autoencoder it is, and where each group of blocks ends.
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
    """encoder.layers.LAYER: residual blocks, then groups that begin with downsampling, then residual blocks."""
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
    """decoder.blocks.GROUP: convolution and residual blocks, groups that end with upsampling, residual blocks."""
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
