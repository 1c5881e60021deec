"""Build the CLIP from a Gemma 3: all of its layers for each token, through a model's text projection.

That is what ComfyUI core's own CLIP for LTX-2 gives, so that CONDITIONING can be exchanged: the network's connectors
take it from there. Prompts are not padded: positions are relative, so the result is the same, and ComfyUI 0.3.75
returns NaN for padding on the left.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.text_encoders.llama as llama
import torch
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

from ..contract.family import Text
from ..contract.grid import Shape, State
from ..weights.gguf_tokenizer import SPIECE
from ..weights.quantised import Quantised, shape_of
from ..weights.scaled_fp8 import with_scales
from .weights import keep_quantised

BEGIN = 2
"""Gemma's token for the beginning of a text."""
UNPROCESSED = "unprocessed_ltxav_embeds"
"""CONDITIONING key of ComfyUI core: the text has not been through the network's connectors yet."""


def plain_name(key: str) -> str:
    """A weight's name in any published layout -> as ComfyUI's Gemma names it; "" for what is not the text model's."""
    for prefix in ("language_model.model.", "model.language_model.", "model."):
        if key.startswith(prefix):
            name = key[len(prefix) :]
            return f"model.{name}" if name.startswith(("layers.", "embed_tokens.", "norm.")) else ""
    return ""


def gemma_config(shapes: dict[str, Shape]) -> dict[str, int] | None:
    """A Gemma 3's dimensions, from its weights' shapes; None for other weights. The rest is the same in all sizes."""
    plain = {name: shape for key, shape in shapes.items() if (name := plain_name(key))}
    first = "model.layers.0."
    needed = ("self_attn.q_norm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.gate_proj.weight")
    if "model.embed_tokens.weight" not in plain or any(first + name not in plain for name in needed):
        return None
    if f"{first}pre_feedforward_layernorm.weight" not in plain:
        return None
    head = plain[first + needed[0]][0]
    vocabulary, width = plain["model.embed_tokens.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": plain[first + needed[3]][0],
        "num_hidden_layers": sum(name.endswith(".input_layernorm.weight") for name in plain),
        "num_attention_heads": plain[first + needed[1]][0] // head,
        "num_key_value_heads": plain[first + needed[2]][0] // head,
        "head_dim": head,
    }


def make_gemma_clip(weights: State, tokenizer: Path | None, text: Text, projection: torch.nn.Module) -> comfy.sd.CLIP:
    """The CLIP. tokenizer: a folder; None: the weights have it as SPIECE. projection: see Family.text_projection."""
    proto = weights.pop(SPIECE, None)
    numbers = gemma_config({key: shape_of(weight) for key, weight in weights.items()})
    state = {name: weight for key, weight in with_scales(weights).items() if (name := plain_name(key))}
    target = SimpleNamespace(
        params={}, clip=_text_model(numbers, projection), tokenizer=_tokenizers(tokenizer, proto, text, numbers)
    )
    parameters = inspect.signature(comfy.sd.CLIP.__init__).parameters
    takes_weights = "state_dict" in parameters  # newer ComfyUI loads a CLIP's weights in its constructor
    quantised = any(isinstance(weight, Quantised) for weight in state.values())
    static = {"disable_dynamic": True} if quantised and "disable_dynamic" in parameters else {}
    clip = comfy.sd.CLIP(
        target,
        parameters=sum(weight.numel() for weight in state.values()),
        model_options={},
        **({"state_dict": [state]} if takes_weights else {}),
        **static,
    )
    if not takes_weights:
        clip.load_sd(state)
    return clip


def _text_model(numbers: dict[str, int], projection: torch.nn.Module) -> type:
    class Gemma(llama.BaseLlama, torch.nn.Module):
        def __init__(self, config: dict, dtype: Any, device: Any, operations: Any) -> None:
            super().__init__()
            sizes = llama.Gemma3_4B_Config()  # the only Gemma 3 of ComfyUI 0.3.75: its dimensions are replaced
            for name, value in numbers.items():
                setattr(sizes, name, value)
            self.num_layers, self.dtype = sizes.num_hidden_layers, dtype
            self.model = llama.Llama2_(sizes, device=device, dtype=dtype, ops=operations)

    class TextModel(torch.nn.Module):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict | None = None) -> None:
            super().__init__()
            self.dtypes, self.projection = {dtype}, projection
            self.gemma = comfy.sd1_clip.SDClipModel(
                device=device,
                layer="all",
                textmodel_json_config={},
                dtype=dtype,
                special_tokens={"start": BEGIN, "pad": 0},
                layer_norm_hidden_state=False,
                model_class=Gemma,
                model_options=model_options or {},
            )
            self.set_clip_options, self.reset_clip_options = self.gemma.set_clip_options, self.gemma.reset_clip_options

        def encode_token_weights(self, tokens: dict[str, list]) -> tuple:
            layers, pooled = self.gemma.encode_token_weights(tokens["gemma"])[:2]  # [1, layers, tokens, width]
            where = next(self.projection.parameters()).device  # ComfyUI hands the layers over in main memory
            text = self.projection(layers[0].permute(1, 2, 0).to(where))
            return text[None].float().to(layers.device), pooled, {UNPROCESSED: True}

        def load_sd(self, state: State) -> Any:
            quantised = {key: weight for key, weight in state.items() if isinstance(weight, Quantised)}
            # An embedding is looked up, not multiplied: it is dequantised.
            kept = {key: weight for key, weight in quantised.items() if "embed_tokens" not in key}
            plain = {key: weight for key, weight in state.items() if key not in quantised}
            plain |= {key: weight.numbers(torch.bfloat16) for key, weight in quantised.items() if key not in kept}
            missing, unexpected = self.gemma.load_sd(plain)
            keep_quantised(self.gemma.transformer, kept)
            for module in self.gemma.transformer.modules():
                if isinstance(module, llama.RMSNorm):
                    module.float()  # ComfyUI adds 1 to the weight in its own dtype: in 16 bits, that rounds it
            return [key for key in missing if key not in kept], unexpected

    return TextModel


def _tokenizers(folder: Path | None, proto: torch.Tensor | None, expected: Text, numbers: dict[str, int]) -> type:
    class FromFile:
        @staticmethod
        def from_pretrained(path: str, **_: Any) -> Any:
            if folder is None:
                return SPieceTokenizer(proto, add_bos=True, add_eos=False)
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(path)

    class Tokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(
                str(folder or ""),
                embedding_directory=embedding_directory,
                embedding_size=numbers["hidden_size"],
                embedding_key="gemma",
                tokenizer_class=FromFile,
                has_end_token=False,
                pad_with_end=False,
                pad_to_max_length=False,
                max_length=99999999,
                tokenizer_data=tokenizer_data or {},
            )

        def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> list:
            """Parentheses are text: the authors know no weights."""
            (row,) = super().tokenize_with_weights(text.strip(), return_word_ids, disable_weights=True)
            self.unread = max(0, len(row) - expected.tokens)
            return [row[: expected.tokens]]

    class Tokenizers(comfy.sd1_clip.SD1Tokenizer):
        style = expected.style

        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {}, name="gemma", tokenizer=Tokenizer)

    return Tokenizers
