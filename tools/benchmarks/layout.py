"""LTX Video's original key names, as the files of Lightricks and ComfyUI's own network have them."""

import torch

ORIGINAL = {"proj_in.": "patchify_proj.", "time_embed.": "adaln_single.", "norm_q.": "q_norm.", "norm_k.": "k_norm."}


def in_original_layout(state: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """Weights under diffusers' names -> under the original ones, with `prefix` in front."""
    renamed = {}
    for key, weight in state.items():
        for name, original in ORIGINAL.items():
            key = key.replace(name, original)
        renamed[prefix + key] = weight
    return renamed
