"""Which files are a model's text encoders: its own, the one chosen, else one of those in models/text_encoders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from ..bridge.text_encoder import t5_config
from ..contract.family import Variant
from ..contract.grid import State
from ..weights.checkpoint import Component, open_component
from ..weights.errors import CheckpointError
from .identify import OpenedModel

Candidates = Callable[[], Iterable[Path]]

CLIPS = {"clip_l": "CLIP-L", "clip_g": "CLIP-G"}
T5_WORDS, UMT5_WORDS = 32_128, 256_384
"""Rows of the embedding of every T5, and of umT5 (Wan's encoder), which has the same width and names."""


def t5_encoder(model: OpenedModel, candidates: Candidates, chosen: Path | None) -> tuple[Component, Path | None]:
    """The T5 for a model, and the folder of its tokenizer (None: T5's own, which ComfyUI carries).

    `chosen` if given, else the checkpoint's own, else of `candidates` the best-named one that fits. Raises
    CheckpointError where it is not the encoder that the variant was trained with.
    """
    checkpoint, variant = model.checkpoint, model.variant
    if chosen is None and checkpoint.text_encoder is None:
        return _t5_among(model, list(candidates())), None
    component, tokenizer = checkpoint.text_encoder, checkpoint.tokenizer
    if chosen is not None:
        component, tokenizer = open_component(chosen, "text encoder"), None
    if wrong := _misfit(component, variant, tokenizer):
        raise CheckpointError(f"{wrong} Choose another file for 'text_encoder'.")
    return component, tokenizer


def _t5_among(model: OpenedModel, available: list[Path]) -> Component:
    """The best-named file that is the T5 of this variant; those passed over are said."""
    family, passed = model.family, []
    for path in _named(family.text_encoders, available):
        try:
            component = open_component(path, "text encoder")
            wrong = _misfit(component, model.variant, None)
        except CheckpointError as error:
            wrong = str(error)
        if not wrong:
            return component
        logging.info("Atelier: passed over %s: %s", path.name, wrong)
        passed.append(wrong)
    raise CheckpointError(
        f"{model.path.name} has no text encoder inside, and models/text_encoders holds none that {family.name} "
        f"could use (found: {', '.join(path.name for path in available) or 'nothing'}). Expected: T5-XXL, for example "
        f"t5xxl_fp16.safetensors. Put it there, or choose a file for 'text_encoder'. {' '.join(passed[:3])}".rstrip()
    )


def _misfit(component: Component, variant: Variant, tokenizer: Path | None) -> str:
    """Why a text encoder is not this variant's, or "". Raises CheckpointError when it is not a T5.

    T5's tokenizer goes with T5's vocabulary only: its numbers mean other words in another one, and the clip would be
    of anything but the prompt.
    """
    name, config = component.files[0].name, t5_config(component.shapes)
    if tokenizer is None and config["vocab_size"] != T5_WORDS:
        kind = ", as umT5 does, the text encoder of Wan" if config["vocab_size"] == UMT5_WORDS else ""
        return (
            f"The text encoder {name} knows {config['vocab_size']:,} words{kind}; {variant.name} was trained with T5, "
            f"which knows {T5_WORDS:,}, for example t5xxl_fp16.safetensors."
        )
    if config["d_model"] != variant.text.channels:
        return (
            f"The text encoder {name} gives text {config['d_model']} wide; {variant.name} was trained on "
            f"{variant.text.channels} (T5-XXL: 4096)."
        )
    return ""


def clip_encoder(model: OpenedModel, name: str, candidates: Candidates) -> State:
    """The weights of the CLIP encoder `name`: the checkpoint's own, else those of a file with that name in its name."""
    component, variant = model.checkpoint.clips.get(name), model.variant
    if component is None:
        available = list(candidates())
        best = next(_named((name, name.replace("_", "-")), available), None)
        if best is None:
            raise CheckpointError(
                f"{model.path.name} has no {CLIPS[name]} text encoder inside, and models/text_encoders holds none "
                f"that {model.family.name} could use (found: {', '.join(p.name for p in available) or 'nothing'}). "
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
    """Those of `available` whose name has one of `words`, best first, each once."""
    return iter(dict.fromkeys(path for word in words for path in available if word in path.name.lower()))
