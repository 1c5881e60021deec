"""Exports the trained parts as an ordinary LTXConditionPipeline folder in half precision."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

from pocket import colours, shared_text, transformer
from pocket.autoencoder import SIDE
from pocket.captions import vocabulary
from pocket.model import Model
from pocket.sample import LTX
from pocket.tokenizer import save as save_tokenizer

RECIPE = {
    "name": "Atelier pocket",
    "width": SIDE,
    "height": SIDE,
    "frames": 17,
    "fps": 8,
    "steps": 25,
    "guidance": 2.25,
    "negative_prompt": "",
}
LIMIT = 17_200_000  # bytes in the repository


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
    """Exports the model in `work` to `folder`; training may still run."""
    net = transformer.build()
    net.load_state_dict(torch.load(work / "transformer.pt", map_location="cpu")["mean"])
    parts = {
        "vae": AutoencoderKLLTXVideo.from_pretrained(work / "vae"),
        "transformer": net,
        "scheduler": FlowMatchEulerDiscreteScheduler(),  # its shift would change the levels alone, not the timesteps
    }
    export_pipeline(LTXConditionPipeline, parts, LTX.load, RECIPE, work, folder)


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
