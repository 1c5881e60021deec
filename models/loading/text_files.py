"""Find a model's text encoders: the chosen file, else its own, else one in models/text_encoders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from ..bridge.gemma import gemma_config
from ..bridge.text_encoder import t5_config
from ..contract.family import Variant
from ..contract.grid import State
from ..weights.checkpoint import Component, open_component
from ..weights.errors import CheckpointError
from ..weights.gguf_tokenizer import SPIECE
from .identify import OpenedModel

Candidates = Callable[[], Iterable[Path]]

CLIPS = {"clip_l": "CLIP-L", "clip_g": "CLIP-G"}
T5, GEMMA = "T5-XXL, for example t5xxl_fp16.safetensors", "Gemma 3 12B, for example gemma_3_12B_it.safetensors"
"""What a message says is expected."""
T5_WORDS, UMT5_WORDS = 32_128, 256_384
"""Vocabulary size of every T5, and of umT5 (Wan's encoder), which has the same width and key names."""


def t5_encoder(model: OpenedModel, candidates: Candidates, chosen: Path | None) -> tuple[Component, Path | None]:
    """The T5 for a model, and the folder of its tokenizer (None: T5's own, which ComfyUI has).

    It is `chosen` if given, else the checkpoint's own, else the best-named one of `candidates` that fits. Raises
    CheckpointError if it is not the encoder that the variant was trained with.
    """
    checkpoint, variant = model.checkpoint, model.variant
    if chosen is None and checkpoint.text_encoder is None:
        return _among(model, list(candidates()), lambda found, _: _misfit(found, variant, None), T5), None
    component, tokenizer = checkpoint.text_encoder, checkpoint.tokenizer
    if chosen is not None:
        component, tokenizer = open_component(chosen, "text encoder"), None
    if wrong := _misfit(component, variant, tokenizer):
        raise CheckpointError(f"{wrong} Choose another file for 'text_encoder'.")
    return component, tokenizer


def gemma_encoder(
    model: OpenedModel, candidates: Candidates, chosen: Path | None, inputs: int
) -> tuple[Component, Path | None]:
    """The Gemma 3 for a model, and the folder of its tokenizer (None: the file has it inside), found as a T5 is.

    inputs: how many numbers the model's text projection reads of a token: Gemma's width times its layers.
    """

    def misfit(component: Component, tokenizer: Path | None) -> str:
        return _gemma_misfit(component, tokenizer, inputs, model.variant.name)

    checkpoint = model.checkpoint
    if chosen is None and checkpoint.text_encoder is None:
        return _among(model, list(candidates()), misfit, GEMMA), None
    component, tokenizer = checkpoint.text_encoder, checkpoint.tokenizer
    if chosen is not None:
        component, tokenizer = open_component(chosen, "text encoder"), None
    if wrong := misfit(component, tokenizer):
        raise CheckpointError(f"{wrong} Choose another file for 'text_encoder'.")
    return component, tokenizer


def _gemma_misfit(component: Component, tokenizer: Path | None, inputs: int, name: str) -> str:
    """The reason why a text encoder is not the Gemma of a model, or ""."""
    file, numbers = component.files[0].name, gemma_config(component.shapes)
    if numbers is None:
        return f"{file} is not a Gemma 3 text encoder, with which {name} was trained."
    size = numbers["hidden_size"] * (numbers["num_hidden_layers"] + 1)
    if size != inputs:
        return (
            f"The text encoder {file} is a Gemma 3 of another size ({numbers['num_hidden_layers']} layers, "
            f"{numbers['hidden_size']} wide); {name} was trained with Gemma 3 12B (48 layers, 3840 wide)."
        )
    if tokenizer is None and SPIECE not in component.shapes:
        return f"{file} has no tokenizer inside (no '{SPIECE}'). Use gemma_3_12B_it.safetensors, or a diffusers folder."
    return ""


def _among(
    model: OpenedModel, available: list[Path], misfit: Callable[[Component, Path | None], str], expected: str
) -> Component:
    """The best-named file that is this variant's text encoder. Skipped files are logged and named in the error."""
    family, skipped = model.family, []
    for path in _named(family.text_encoders, available):
        try:
            component = open_component(path, "text encoder")
            wrong = misfit(component, None)
        except CheckpointError as error:
            wrong = str(error)
        if not wrong:
            return component
        logging.info("Atelier: skipped %s: %s", path.name, wrong)
        skipped.append(wrong)
    raise CheckpointError(
        f"{model.path.name} has no text encoder inside, and models/text_encoders has none for {family.name} "
        f"(found: {', '.join(path.name for path in available) or 'nothing'}). Expected: {expected}. Put it there, or "
        f"choose a file for 'text_encoder'. {' '.join(skipped[:3])}".rstrip()
    )


def _misfit(component: Component, variant: Variant, tokenizer: Path | None) -> str:
    """The reason why a text encoder is not this variant's, or "". Raises CheckpointError if it is not a T5.

    T5's tokenizer needs T5's vocabulary. In another one its token numbers stand for other words, so the clip would not
    follow the prompt.
    """
    name, config = component.files[0].name, t5_config(component.shapes)
    if tokenizer is None and config["vocab_size"] != T5_WORDS:
        kind = ", as umT5, the text encoder of Wan" if config["vocab_size"] == UMT5_WORDS else ""
        return (
            f"The text encoder {name} has {config['vocab_size']:,} words{kind}; {variant.name} was trained with T5, "
            f"which has {T5_WORDS:,}, for example t5xxl_fp16.safetensors."
        )
    if config["d_model"] != variant.text.channels:
        return (
            f"The text encoder {name} has a width of {config['d_model']}; {variant.name} was trained on "
            f"{variant.text.channels} (T5-XXL: 4096)."
        )
    return ""


def clip_encoder(model: OpenedModel, name: str, candidates: Candidates) -> State:
    """The weights of the CLIP encoder `name`: the checkpoint's own, else those of a file whose name contains it."""
    component, variant = model.checkpoint.clips.get(name), model.variant
    if component is None:
        available = list(candidates())
        best = next(_named((name, name.replace("_", "-")), available), None)
        if best is None:
            raise CheckpointError(
                f"{model.path.name} has no {CLIPS[name]} text encoder inside, and models/text_encoders has none "
                f"for {model.family.name} (found: {', '.join(p.name for p in available) or 'nothing'}). "
                f"Expected: a file with {name} in its name. Put it there."
            )
        component = open_component(best, f"{CLIPS[name]} text encoder")
    projection = "text_projection.weight" if variant.text.pooled_projected else ""
    for key in filter(None, ("text_model.encoder.layers.0.mlp.fc1.weight", projection)):
        if key not in component.shapes:
            raise CheckpointError(
                f"{component.files[0].name} has no {key}, so it is not {CLIPS[name]} as {variant.name} reads it. Put "
                f"another {name}.safetensors in its place."
            )
    return component.state_dict()


def _named(words: tuple[str, ...], available: list[Path]) -> Iterable[Path]:
    """The files whose name contains one of `words`, in the order of `words`, without duplicates."""
    return iter(dict.fromkeys(path for word in words for path in available if word in path.name.lower()))
