"""The pocket model's text encoder as it was released, with which the other families' transformers train.

Their folders hold the same files byte for byte, so the repository stores them once.
"""

import random
import shutil
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5EncoderModel

from pocket import tokenizer as tokens
from pocket.captions import free_caption, said_attributes
from pocket.world import Scene

POCKET = Path(__file__).parents[2] / "models" / "pocket"
NO_CAPTION = 0.1  # share of clips or steps without text, for guidance


def load(folder: Path = POCKET, encoder: str = "text_encoder", tokenizer: str = "tokenizer") -> tuple:
    """The text encoder, float32 and frozen, and the tokenizer of a model folder."""
    model = T5EncoderModel.from_pretrained(folder / encoder, dtype=torch.float32).eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder / tokenizer)


def copy(folder: Path, encoder: str = "text_encoder", tokenizer: str = "tokenizer") -> None:
    """Puts the released files into another model's folder, unchanged."""
    for source, target in (("text_encoder", encoder), ("tokenizer", tokenizer)):
        shutil.copytree(POCKET / source, folder / target, dirs_exist_ok=True)


def draw_captions(
    scenes: list[Scene], tokenizer: PreTrainedTokenizerFast, rng: random.Random, tries: int = 200
) -> list[str]:
    """A caption for each scene, all with the same number of tokens, so that attention runs on the whole batch."""

    def draw(scene: Scene) -> str:
        return free_caption(scene, said_attributes(rng), rng)

    def length(words: str) -> int:
        return len(tokenizer(words).input_ids)

    if rng.random() < NO_CAPTION:
        return [""] * len(scenes)
    wanted, captions = length(draw(rng.choice(scenes))), []
    for scene in scenes:
        drawn = [draw(scene)]
        while length(drawn[-1]) != wanted and len(drawn) < tries:
            drawn.append(draw(scene))
        captions.append(drawn[-1])
    return captions


@torch.no_grad()
def embed(encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Captions -> hidden states [B, L, 96] and mask [B, L]; T5 does not see the padding."""
    batch = tokenizer(captions, padding=True, max_length=tokens.LENGTH, truncation=True, return_tensors="pt")
    hidden = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return hidden, batch.attention_mask
