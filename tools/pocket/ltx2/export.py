"""Exports the pocket with sound as an ordinary LTX2Pipeline folder in half precision."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from transformers import Gemma3ForConditionalGeneration

from pocket import colours
from pocket.export import publish, write
from pocket.ltx2 import text, transformer
from pocket.ltx2.sample import LTX2

RECIPE = {
    "name": "Atelier pocket with sound",
    "width": 64,
    "height": 64,
    "frames": 17,
    "fps": 8,
    "steps": 24,
    "guidance": 3.0,
    "negative_prompt": "",
    "text": {"tokens": text.TOKENS},
    "frame_rates": [[8, 8]],
    "licence": "Apache-2.0",
}
SCHEDULE = {  # LTX-2's
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}
LIMIT = 14_000_000  # bytes


def assemble(work: Path) -> LTX2Pipeline:
    """The float32 pipeline made of the parts in `work`; training may still run."""
    net = transformer.build()
    net.load_state_dict(torch.load(work / "transformer.pt", map_location="cpu")["mean"])
    return LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULE),
        vae=AutoencoderKLLTX2Video.from_pretrained(work / "vae"),
        audio_vae=AutoencoderKLLTX2Audio.from_pretrained(work / "audio_vae"),
        text_encoder=Gemma3ForConditionalGeneration.from_pretrained(work / "text_encoder", dtype=torch.float32),
        tokenizer=text.tokenizer(),
        connectors=LTX2TextConnectors.from_pretrained(work / "connectors"),
        transformer=net,
        vocoder=LTX2Vocoder.from_pretrained(work / "vocoder"),
    )


def export(work: Path, folder: Path) -> None:
    """Exports the model in `work` to `folder`."""
    staging = work / "export"
    write(assemble(work), staging, RECIPE)
    config = staging / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"padding_side": "left"}, indent=2) + "\n")
    colours.write(LTX2.load(staging), staging)
    publish(staging, folder, LIMIT)
