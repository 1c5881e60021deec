"""Original key names of LTX Video, CogVideoX and Mochi 1, as in their authors' files and in ComfyUI's own networks."""

import re
from collections.abc import Iterable
from typing import Any

import torch

State = dict[str, torch.Tensor]
ORIGINAL = {"proj_in.": "patchify_proj.", "time_embed.": "adaln_single.", "norm_q.": "q_norm.", "norm_k.": "k_norm."}


def in_original_layout(state: State, prefix: str = "") -> State:
    """LTX Video's weights under diffusers' names -> under the original ones, with `prefix` in front."""
    renamed = {}
    for key, weight in state.items():
        for name, original in ORIGINAL.items():
            key = key.replace(name, original)
        renamed[prefix + key] = weight
    return renamed


SAT_NAMES = (
    (r"^norm_final\.", "transformer.final_layernorm."),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.", r"transformer.layers.\1.mlp.dense_h_to_4h."),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.2\.", r"transformer.layers.\1.mlp.dense_4h_to_h."),
    (r"^transformer_blocks\.(\d+)\.attn1\.to_out\.0\.", r"transformer.layers.\1.attention.dense."),
    (r"^transformer_blocks\.(\d+)\.attn1\.norm_q\.", r"mixins.adaln_layer.query_layernorm_list.\1."),
    (r"^transformer_blocks\.(\d+)\.attn1\.norm_k\.", r"mixins.adaln_layer.key_layernorm_list.\1."),
    (r"^transformer_blocks\.(\d+)\.norm1\.norm\.", r"transformer.layers.\1.input_layernorm."),
    (r"^transformer_blocks\.(\d+)\.norm2\.norm\.", r"transformer.layers.\1.post_attention_layernorm."),
    (r"^(time|ofs)_embedding\.linear_1\.", r"\1_embed.0."),
    (r"^(time|ofs)_embedding\.linear_2\.", r"\1_embed.2."),
    (r"^patch_embed\.pos_embedding$", "mixins.pos_embed.pos_embedding"),
    (r"^patch_embed\.", "mixins.patch_embed."),
    (r"^norm_out\.norm\.", "mixins.final_layer.norm_final."),
    (r"^norm_out\.linear\.", "mixins.final_layer.adaLN_modulation.1."),
    (r"^proj_out\.", "mixins.final_layer.linear."),
)


def in_sat_layout(state: State) -> State:
    """CogVideoX's weights under diffusers' names -> under SAT's, with SAT's unused position table."""
    out = {"transformer.position_embeddings.weight": torch.zeros(1, 64)}
    for key, weight in state.items():
        block, _, rest = key.removeprefix("transformer_blocks.").partition(".")
        if ".attn1.to_q." in key:
            name = f"transformer.layers.{block}.attention.query_key_value.{rest.rsplit('.', 1)[1]}"
            out[name] = torch.cat([state[key.replace(".to_q.", f".to_{part}.")] for part in "qkv"])
        elif re.search(r"\.norm1\.linear\.", key):
            one, two = weight.chunk(6), state[key.replace("norm1", "norm2")].chunk(6)
            name = f"mixins.adaln_layer.adaLN_modulations.{block}.1.{rest.rsplit('.', 1)[1]}"
            out[name] = torch.cat(one[:3] + two[:3] + one[3:] + two[3:])
        elif not re.search(r"\.attn1\.to_[kv]\.|\.norm2\.linear\.", key):
            for old, new in SAT_NAMES:
                key = re.sub(old, new, key)
            out[key] = weight
    return out


def in_genmo_layout(state: State, names: Iterable[str]) -> State:
    """Mochi 1's weights under diffusers' names -> under `names`, the original names of a network of the same depth."""
    from atelier.models.families.mochi import layouts
    from atelier.models.weights.key_names import renamed

    original = {}
    for name in names:
        key = renamed(name, layouts.NETWORK_NAMES)
        if key.format("q") not in state:  # the last block's text norm is of another class
            key = key.replace("norm1_context.linear.", "norm1_context.linear_1.")
        parts = [state[key.format(letter)] for letter in ("qkv" if "{}" in key else "-")]
        swapped = ".net.0.proj." in key or key.startswith("norm_out.")
        original[name] = torch.cat(parts[0].chunk(2)[::-1]) if swapped else torch.cat(parts)
    return original


def genmo_network(depth: int = 48) -> State:
    """Mochi 1 of published width under its original names, on the meta device, in ComfyUI's own implementation."""
    import comfy.ops
    from comfy.ldm.genmo.joint_model.asymm_models_joint import AsymmDiTJoint
    from comfy.model_detection import detect_unet_config

    published: dict[str, Any] = detect_unet_config({"t5_yproj.weight": None}, "") | {"depth": depth}
    del published["image_model"]
    with torch.device("meta"):
        return AsymmDiTJoint(**published, operations=comfy.ops.disable_weight_init).state_dict()
