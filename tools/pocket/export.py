"""Exports the trained parts as an ordinary LTXPipeline folder in half precision."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from transformers import AutoTokenizer, T5EncoderModel

from pocket import colours, shared_text, transformer
from pocket.captions import vocabulary
from pocket.model import Model
from pocket.sample import LTX
from pocket.tokenizer import save as save_tokenizer

SHIFT = 3.0
RECIPE = {
    "name": "Atelier pocket",
    "width": 64,
    "height": 64,
    "frames": 17,
    "fps": 8,
    "steps": 25,
    "guidance": 3.0,
    "negative_prompt": "",
    # Trained with LTXPipeline's text handling, time positions and schedule; those of LTX Video 0.9.5 and later differ.
    "text": {"tokens": 128, "encoder_sees_padding": True},
    "network": {"causal_temporal_positioning": False},
    "scheduler": {"sampler": "Uniform"},
}
LIMIT = 12_000_000  # bytes in the repository


def latest_transformer(work: Path, channels: int) -> LTXVideoTransformer3DModel:
    """The averaged transformer of the newest checkpoint (training may still run); a fresh one if there is none."""
    net = transformer.build(channels)
    checkpoint = work / "transformer.pt"
    if checkpoint.exists():
        net.load_state_dict(torch.load(checkpoint, map_location="cpu")["mean"])
    return net


def assemble(work: Path) -> LTXPipeline:
    """The float32 pipeline made of the parts in `work`."""
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae")
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=T5EncoderModel.from_pretrained(work / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(work / "tokenizer"),
        transformer=latest_transformer(work, vae.config.latent_channels),
    )


def write(pipeline: DiffusionPipeline, folder: Path, recipe: dict[str, Any]) -> None:
    """Writes the pipeline as float16 safetensors, with class names that transformers 4 knows too, and recipe.json."""
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
    index.write_text(json.dumps(content, indent=2) + "\n")
    forget_sources(folder)
    (folder / "recipe.json").write_text(json.dumps(recipe | {"vocabulary": vocabulary()}, indent=2) + "\n")


def forget_sources(folder: Path) -> None:
    """Removes the paths from which diffusers loaded the parts."""
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        if config.pop("_name_or_path", None):
            path.write_text(json.dumps(config, indent=2) + "\n")


def export(work: Path, folder: Path) -> None:
    """Exports the model in `work` to `folder`."""
    staging = work / "export"
    write(assemble(work), staging, RECIPE)
    colours.write(LTX.load(staging), staging)
    publish(staging, folder)


def export_pipeline(
    kind: type[DiffusionPipeline],
    parts: dict[str, Any],
    load: Callable[[Path], Model],
    recipe: dict[str, Any],
    work: Path,
    folder: Path,
) -> None:
    """Exports a pipeline of `parts` and of the pocket model's text encoder to `folder`; `load` reads such a folder."""
    staging = work / "export"
    encoder, tokenizer = shared_text.load()
    write(kind(text_encoder=encoder, tokenizer=tokenizer, **parts), staging, recipe)
    shared_text.copy(staging)
    colours.write(load(staging), staging)
    publish(staging, folder)


def publish(staging: Path, folder: Path, limit: int = LIMIT) -> None:
    """Copies a model to `folder`, replacing each file atomically. Other files, such as the card, stay."""
    files = [path for path in staging.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if size > limit:
        raise ValueError(f"the model has {size:,} bytes; the limit is {limit:,}")
    for path in files:
        target = folder / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        partial.write_bytes(path.read_bytes())
        os.replace(partial, target)
    print(f"{folder}: {len(files)} files, {size / 1e6:.1f} MB")
