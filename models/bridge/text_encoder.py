"""Build the CLIP from a T5 encoder, and from the CLIP encoders that some families use beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.genmo
import comfy.text_encoders.sd3_clip
import comfy.utils
import torch

from ..contract.family import Text
from ..contract.grid import State
from ..weights.errors import CheckpointError
from ..weights.key_names import blocks_of
from ..weights.quantised import Quantised, shape_of
from .weights import keep_quantised, names_of

PADDING = 0  # T5's token for it


def make_t5_clip(
    weights: State, tokenizer: Path | None, text: Text, pooled: dict[str, State] | None = None
) -> comfy.sd.CLIP:
    """The CLIP for a T5 encoder of any size, as diffusers' video pipelines use it.

    The prompt is padded or cut to `text.tokens` tokens. If the network does not see the padding, the mask [1, tokens]
    is passed beside the embedding [1, tokens, width]. tokenizer: a folder, or None for T5's own, which ComfyUI has.
    pooled: the weights of the CLIP encoders ("clip_l", "clip_g") whose pooled outputs are passed too. Raises
    CheckpointError if the weights are not a T5 encoder's.
    """
    pooled = pooled or {}
    config = t5_config({key: shape_of(weight) for key, weight in weights.items()})
    if hasattr(comfy.utils, "convert_old_quants"):  # newer ComfyUI describes scaled fp8 in metadata
        weights, _ = comfy.utils.convert_old_quants(weights, model_prefix="", metadata={})
    target = SimpleNamespace(
        params={},
        clip=_with_pooled(
            comfy.text_encoders.genmo.mochi_te(**comfy.text_encoders.sd3_clip.t5_xxl_detect(weights)),
            tuple(pooled),
            text.pooled_projected,
        ),
        tokenizer=_with_clip_tokens(_t5_tokenizer(tokenizer, text), tuple(pooled)),
    )
    options = {f"{name}_model_config": clip_config(state) for name, state in pooled.items()}
    states = [weights, *pooled.values()]
    # Newer ComfyUI loads a CLIP's weights in its constructor. In 0.3.75, they are loaded afterwards.
    parameters = inspect.signature(comfy.sd.CLIP.__init__).parameters
    takes_weights = "state_dict" in parameters
    quantised = any(isinstance(weight, Quantised) for weight in weights.values())
    static = {"disable_dynamic": True} if quantised and "disable_dynamic" in parameters else {}
    clip = comfy.sd.CLIP(
        target,
        parameters=sum(weight.numel() for state in states for weight in state.values()),
        model_options={"t5xxl_model_config": config, **options},
        **({"state_dict": states} if takes_weights else {}),
        **static,
    )
    if not takes_weights:
        for state in states:
            clip.load_sd(state)
    encoder = clip.cond_stage_model.t5xxl
    encoder.enable_attention_masks = not text.encoder_sees_padding
    encoder.return_attention_masks = not text.network_sees_padding
    if text.empty_is_nothing:
        encoder.process_tokens = partial(_process_tokens, encoder.process_tokens)
    return clip


def clip_config(state: State) -> dict[str, Any]:
    """A CLIP text encoder's dimensions, from its weights. Raises CheckpointError if they are not a CLIP's."""
    stem = "text_model.encoder.layers."
    if f"{stem}0.mlp.fc1.weight" not in state:
        raise CheckpointError(f"This is not a CLIP text encoder (found {', '.join(list(state)[:3])}, ...).")
    feed_forward, width = state[f"{stem}0.mlp.fc1.weight"].shape
    return {
        "hidden_size": width,
        "num_attention_heads": max(1, width // 64),
        "num_hidden_layers": blocks_of(state, stem.removesuffix(".")),
        "intermediate_size": feed_forward,
    }


POOLED_TOKENS = {"clip_l": "l", "clip_g": "g"}


def _with_pooled(base: type, names: tuple[str, ...], projected: bool) -> type:
    """A T5 text model with CLIP encoders. Their pooled outputs [1, width] are concatenated in the order of `names`."""
    encoders = {
        "clip_l": partial(comfy.sd1_clip.SDClipModel, return_projected_pooled=projected),
        "clip_g": comfy.sdxl_clip.SDXLClipG,
    }

    class TextModel(base):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict | None = None) -> None:
            options = model_options or {}
            super().__init__(device=device, dtype=dtype, model_options=options)
            for name in names:
                self.add_module(name, encoders[name](device=device, dtype=dtype, model_options=options))

        def encode_token_weights(self, tokens: dict[str, list]) -> tuple:
            embeds, pooled, *rest = super().encode_token_weights(tokens)
            vectors = [getattr(self, n).encode_token_weights(tokens[POOLED_TOKENS[n]])[1] for n in names]
            return embeds, torch.cat(vectors, dim=-1) if vectors else pooled, *rest

        def load_sd(self, state: State) -> Any:
            if "text_model.embeddings.token_embedding.weight" not in state:
                return self._load_t5(state)
            layers = clip_config(state)["num_hidden_layers"]
            return next(getattr(self, n) for n in names if getattr(self, n).num_layers == layers).load_sd(state)

        def _load_t5(self, state: State) -> tuple[list[str], list[str]]:
            quantised = {key: weight for key, weight in state.items() if isinstance(weight, Quantised)}
            # An embedding is looked up, not multiplied: it is dequantised.
            kept = {key: weight for key, weight in quantised.items() if key != "shared.weight"}
            plain = {key: weight for key, weight in state.items() if key not in quantised}
            plain |= {key: weight.numbers(torch.float16) for key, weight in quantised.items() if key not in kept}
            missing, unexpected = super().load_sd(plain)
            keep_quantised(self.t5xxl.transformer, kept)
            return [key for key in missing if key not in kept], unexpected

    return TextModel


def _with_clip_tokens(base: type, names: tuple[str, ...]) -> type:
    tokenizers = {"clip_l": comfy.sd1_clip.SDTokenizer, "clip_g": comfy.sdxl_clip.SDXLClipGTokenizer}

    class Tokenizers(base):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data)
            self.clips = {
                POOLED_TOKENS[n]: tokenizers[n](
                    embedding_directory=embedding_directory, tokenizer_data=tokenizer_data or {}
                )
                for n in names
            }

        def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict[str, list]:
            tokens = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            # A CLIP reads the first 77 tokens. ComfyUI puts further ones into another batch, which is dropped.
            clips = {
                key: clip.tokenize_with_weights(text, return_word_ids, **kwargs)[:1] for key, clip in self.clips.items()
            }
            return tokens | clips

    return Tokenizers


def _process_tokens(process: Callable, tokens: list[list], device: torch.device) -> tuple:
    """Mask out rows that are only padding: without an end token, ComfyUI's T5 would mark all of them as prompt."""
    embeds, mask, *rest = process(tokens, device)
    for row, ids in enumerate(tokens):
        if all(isinstance(token, int) and token == PADDING for token in ids):
            mask[row] = 0
    return embeds, mask, *rest


def t5_config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """A T5 encoder's dimensions, from its weights' shapes, under the names that ComfyUI's T5 uses.

    Raises CheckpointError if these are not the weights of a T5 encoder, or are incomplete.
    """
    block, attention, feed_forward = "encoder.block.{}.", "layer.0.SelfAttention.", "layer.1.DenseReluDense."
    bias, first = block.format(0) + attention + "relative_attention_bias.weight", block.format(0)
    if bias not in shapes or "shared.weight" not in shapes:
        raise CheckpointError(
            "This text encoder is not a T5 encoder in the layout of transformers (found "
            f"{', '.join(list(shapes)[:3])}, ...). Expected: T5-XXL, for example t5xxl_fp16.safetensors or "
            "t5xxl_fp8_e4m3fn_scaled.safetensors in models/text_encoders."
        )
    gated = first + feed_forward + "wi_0.weight" in shapes
    layers = blocks_of(shapes, "encoder.block")
    parts = [attention + part for part in "qkvo"] + [
        feed_forward + part for part in (("wi_0", "wi_1", "wo") if gated else ("wi", "wo"))
    ]
    norms = ("layer.0.layer_norm", "layer.1.layer_norm")
    expected = {f"{block.format(n)}{part}.weight" for n in range(layers) for part in [*parts, *norms]}
    missing = (expected | {"encoder.final_layer_norm.weight"}) - shapes.keys()
    if missing:
        raise CheckpointError(
            f"The text encoder's file is incomplete. Missing: {names_of(missing)}. Download it again."
        )
    heads = shapes[bias][1]
    return {
        "d_model": shapes["shared.weight"][1],
        "vocab_size": shapes["shared.weight"][0],
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": shapes[first + attention + "q.weight"][0] // heads,
        "d_ff": shapes[first + feed_forward + ("wi_0" if gated else "wi") + ".weight"][0],
        "is_gated_act": gated,
        "dense_act_fn": "gelu_pytorch_tanh" if gated else "relu",
        "model_type": "t5",
    }


def _t5_tokenizer(folder: Path | None, expected: Text) -> type:
    from transformers import AutoTokenizer, T5TokenizerFast

    path = folder or Path(inspect.getfile(comfy.text_encoders.sd3_clip)).with_name("t5_tokenizer")

    class Tokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(
                str(path),
                embedding_directory=embedding_directory,
                embedding_size=expected.channels,
                embedding_key="t5xxl",
                tokenizer_class=AutoTokenizer if folder else T5TokenizerFast,
                tokenizer_data=tokenizer_data or {},
                pad_with_end=False,
                has_start_token=False,
                pad_to_max_length=False,
                max_length=99999999,
                min_length=expected.tokens,
            )

        def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> list:
            try:
                (batch,) = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            except RecursionError:
                raise ValueError("The prompt has too many nested parentheses. Use at most 10 levels.") from None
            _check_weights(batch)
            self.unread = max(0, len(batch) - expected.tokens)
            if expected.empty_is_nothing and not text:
                return [[(PADDING, *others) for _, *others in batch]]
            return [batch[: expected.tokens - 1] + batch[-1:] if self.unread else batch]

    class Tokenizers(comfy.sd1_clip.SD1Tokenizer):
        style = (
            expected.style
        )  # an attribute of the tokenizer, because a clone of a CLIP keeps nothing else of this pack

        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {}, name="t5xxl", tokenizer=Tokenizer)

    return Tokenizers


MOST_WEIGHT = 100
"""The largest weight of a part of a prompt, positive or negative. Far smaller weights already spoil a picture."""


def _check_weights(batch: list[tuple]) -> None:
    """Raises ValueError for weights that would make the embedding NaN or infinite: (word:nan), (word:1e38)."""
    for _, weight, *_ in batch:
        if not abs(weight) <= MOST_WEIGHT:
            raise ValueError(
                f"The prompt gives a part of it the weight {weight:g}. Write a number from -{MOST_WEIGHT} to "
                f"{MOST_WEIGHT} after the colon, for example (red:1.2), or put a backslash before the parentheses."
            )


def encode_text(clip: comfy.sd.CLIP, text: str) -> tuple[list, int]:
    """CONDITIONING of a prompt, and the number of its tokens past the model's limit, which are not read."""
    tokens = clip.tokenize(text)
    for batch in (batch for batches in tokens.values() for batch in batches):
        _check_weights(batch)
    tokenizer = getattr(clip.tokenizer, "t5xxl", None) or getattr(clip.tokenizer, "gemma", None)
    unread = getattr(tokenizer, "unread", 0)
    return clip.encode_from_tokens_scheduled(tokens), unread


def style_of(clip: comfy.sd.CLIP) -> str:
    """The style whose words the model's authors add to every prompt, or "". Also "" for other loaders' CLIPs."""
    return getattr(clip.tokenizer, "style", "")
