"""Exports the trained parts in the layout of the published repositories, in half precision."""

import json
from pathlib import Path

import torch
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from pocket import colours, shared_text
from pocket.captions import vocabulary
from pocket.export import forget_sources, publish
from pocket.pyramid.sample import CLIP, NETWORK, TEXT_ENCODER, TOKENIZER, VAE, Pyramid
from pocket.pyramid.transformer import POOLED, build

RECIPE = {
    "name": "Atelier pocket Pyramid",
    "width": 64,
    "height": 64,
    "frames": 17,
    "fps": 8,
    "steps": 10,
    "guidance": 2.0,
    "negative_prompt": "",
    "text": {"style": ""},  # it was trained on none of the words that Pyramid Flow's authors add
}


def write_silent_clip(folder: Path) -> None:
    """The CLIP-L that the layout requires, with all weights zero: only T5 reads the prompt."""
    config = CLIPTextConfig(
        hidden_size=POOLED,
        intermediate_size=POOLED,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=49406,
        eos_token_id=49407,
    )
    config.save_pretrained(folder)
    state = {
        # As published: transformers 5 has dropped the prefix.
        f"text_model.{key.removeprefix('text_model.')}": torch.zeros_like(weight, dtype=torch.float16)
        for key, weight in CLIPTextModel(config).state_dict().items()
        if weight.is_floating_point()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write(work: Path, folder: Path) -> None:
    """Writes the model in `work` (training may still run) as float16 safetensors and recipe.json."""
    network = build()
    network.load_state_dict(torch.load(work / "transformer.pt", map_location="cpu")["mean"])
    network.half().save_pretrained(folder / NETWORK)
    CausalVideoVAE.from_pretrained(work / "causal_video_vae").half().save_pretrained(folder / VAE)
    write_silent_clip(folder / CLIP)
    shared_text.copy(folder, TEXT_ENCODER, TOKENIZER)
    forget_sources(folder)
    (folder / "recipe.json").write_text(json.dumps(RECIPE | {"vocabulary": vocabulary()}, indent=2) + "\n")


def export(work: Path, folder: Path) -> None:
    """Exports the model in `work` to `folder`."""
    staging = work / "export"
    write(work, staging)
    colours.write(Pyramid.load(staging), staging)
    publish(staging, folder)
