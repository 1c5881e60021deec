"""Key names of published CogVideoX files: SAT's layout -> diffusers', of the network and of the autoencoder."""

from __future__ import annotations

import re
from typing import Any

from ...contract.grid import State
from ...weights.key_names import exchange, renamed

CHANNELS = 16
"""Latent channels of a clip; a network with an image input has twice as many input channels."""
FUN = "cogvideox_fun"
"""Of a variant's network arguments: it is CogVideoX-Fun's. Its table of positions is stretched to other pictures
instead of computed for them, and its clips' first latent frame is decoded by itself."""
SAT_NAMES = (
    (r"^transformer\.final_layernorm\.", "norm_final."),
    (r"^transformer\.layers\.(\d+)\.", r"transformer_blocks.\1."),
    (r"\.attention\.query_key_value\.", ".attn1.to_{}."),
    (r"\.attention\.dense\.", ".attn1.to_out.0."),
    (r"\.mlp\.dense_h_to_4h\.", ".ff.net.0.proj."),
    (r"\.mlp\.dense_4h_to_h\.", ".ff.net.2."),
    (r"\.input_layernorm\.", ".norm1.norm."),
    (r"\.post_attention_layernorm\.", ".norm2.norm."),
    (r"^(time|ofs)_embed\.0\.", r"\1_embedding.linear_1."),
    (r"^(time|ofs)_embed\.2\.", r"\1_embedding.linear_2."),
    (r"^mixins\.patch_embed\.", "patch_embed."),
    (r"^mixins\.pos_embed\.pos_embedding$", "patch_embed.pos_embedding"),
    (r"^mixins\.final_layer\.norm_final\.", "norm_out.norm."),
    (r"^mixins\.final_layer\.linear\.", "proj_out."),
    (r"^mixins\.final_layer\.adaLN_modulation\.1\.", "norm_out.linear."),
    (r"^mixins\.adaln_layer\.adaLN_modulations\.(\d+)\.1\.", r"transformer_blocks.\1.norm{}.linear."),
    (r"^mixins\.adaln_layer\.(query|key)_layernorm_list\.(\d+)\.", r"transformer_blocks.\2.attn1.norm_\1."),
    (r"\.norm_query\.", ".norm_q."),
    (r"\.norm_key\.", ".norm_k."),
)


def network_state(state: State) -> State:
    """SAT or diffusers key names -> diffusers key names. Weights are changed in place.

    SAT's unused tables are left out.
    """
    if not any(key.startswith(("transformer.layers.", "mixins.")) for key in state):
        return state
    out = {}
    for key in list(state):
        weight, name = state.pop(key), renamed(key, SAT_NAMES)
        if ".to_{}." in name:
            out |= {name.format(part): rows for part, rows in zip("qkv", weight.chunk(3), strict=True)}
        elif ".norm{}." in name:
            # Twelve parts: shift, scale and gate of attention and feed-forward, for the clip, then for the text.
            _, other, text, _ = weight.chunk(4)
            exchange(other, text)
            out |= {name.format(part): rows for part, rows in zip((1, 2), weight.chunk(2), strict=True)}
        elif not name.startswith(("transformer.", "mixins.")):
            out[name] = weight
    if not has_learned_positions(out):
        out.pop("patch_embed.pos_embedding", None)
    return out


def has_learned_positions(weights: Any) -> bool:
    """Whether positions are learned, as in 5B-I2V. SAT files have the 2B's fixed table under the same name."""
    shape = getattr(weights["patch_embed.proj.weight"], "shape", weights["patch_embed.proj.weight"])
    return "patch_embed.pos_embedding" in weights and len(shape) == 4 and shape[1] == 2 * CHANNELS


# A norm of the decoder's first block that is conditioned on the latent. Only CogVideoX's autoencoder has it.
MARK = "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight"
VAE_NAMES = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.block\.", ".resnets."),
    (r"\.down\.", ".down_blocks."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)


def vae_name(key: str) -> str:
    """diffusers' name of a SAT key. SAT counts the decoder's blocks from its end."""
    key = re.sub(r"\.up\.(\d)\.", lambda found: f".up_blocks.{3 - int(found[1])}.", key)
    return renamed(key, VAE_NAMES)
