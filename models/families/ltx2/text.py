"""LTX-2's text: Gemma's layers, normed and projected, as CONDITIONING holds it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...weights.checkpoint import Component
from ...weights.errors import CheckpointError
from ...weights.scaled_fp8 import dequantised
from .layouts import CONNECTORS, PROJECTION, projection_state


class Projection(torch.nn.Module):
    """The hidden states of all of Gemma's layers [tokens, width, layers] -> text [tokens, width of the text].

    2.0 norms each layer over all tokens and has one projection. 2.3 norms each layer of a token, and has two
    projections, whose outputs are side by side.
    """

    def __init__(self, inputs: int, widths: Mapping[str, int], bias: bool) -> None:
        super().__init__()
        self.inputs, self.names = inputs, tuple(widths)
        for name, width in widths.items():
            self.add_module(name, torch.nn.Linear(inputs, width, bias=bias))

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        dtype = self.get_submodule(self.names[0]).weight.dtype
        layers = layers.float()
        if self.names == ("text_proj_in",):
            mean, low, high = layers.mean((0, 1)), layers.amin((0, 1)), layers.amax((0, 1))
            return self.text_proj_in((8 * (layers - mean) / (high - low + 1e-6)).flatten(1).to(dtype))
        normed = (layers * torch.rsqrt((layers**2).mean(1, keepdim=True) + 1e-6)).flatten(1)
        projections = [self.get_submodule(name) for name in self.names]
        scales = [(linear.out_features / layers.shape[1]) ** 0.5 for linear in projections]
        scaled = zip(projections, scales, strict=True)
        return torch.cat([linear((normed * scale).to(dtype)) for linear, scale in scaled], dim=-1)


def build_projection(parts: Mapping[str, Component], variant: Variant) -> Projection:
    """The projection of a model, with its weights. Raises CheckpointError if there is none."""
    state = dequantised(projection_state([parts.get(CONNECTORS), parts.get(PROJECTION)]))
    two = variant.network["connectors"]["two_projections"]
    names = ("video_text_proj_in", "audio_text_proj_in") if two else ("text_proj_in",)
    if missing := [name for name in names if f"{name}.weight" not in state]:
        raise CheckpointError(
            f"{variant.name} has no text projection ({', '.join(missing)}) inside, and models/text_encoders has no "
            "file with one. Put the one of this model there: its name has 'text_projection' or "
            "'embeddings_connector' in it."
        )
    state = {key: weight for key, weight in state.items() if key.rsplit(".", 1)[0] in names}
    widths = {name: state[f"{name}.weight"].shape[0] for name in names}
    with without_weights():
        projection = Projection(state[f"{names[0]}.weight"].shape[1], widths, bias=f"{names[0]}.bias" in state)
    dtype = state[f"{names[0]}.weight"].dtype
    load_weights(projection, state, dtype, dtype)
    return projection
