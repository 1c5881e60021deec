"""The pocket model's text encoder: a two-layer T5, pretrained to classify a caption's attributes.

Every token must carry every attribute, so that each token helps the transformer's cross-attention.
"""

from collections.abc import Collection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from pocket import tokenizer as tokens
from pocket.captions import free_caption, said_attributes
from pocket.training import Run, learning_rate, warm_start
from pocket.world import ATTRIBUTES, Scene, draw_scenes

WIDTH = 96
VOCABULARY = 768
BATCH = 64


def build() -> T5EncoderModel:
    """A fresh, standard T5 encoder, which any T5 implementation can load."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=3,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokens.PAD,
        eos_token_id=tokens.END,
        decoder_start_token_id=tokens.PAD,
        tie_word_embeddings=False,
    )
    return T5EncoderModel(config)


def embed(encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Captions -> hidden states [B, L, 96] and mask [B, L] of what is not padding.

    As in LTXPipeline, T5 reads all 128 positions without a mask. Positions after the longest caption are then cut off,
    because the transformer's mask hides them anyway.
    """
    batch = tokenizer(captions, padding="max_length", max_length=tokens.LENGTH, truncation=True, return_tensors="pt")
    longest = int(batch.attention_mask.sum(1).max())
    hidden = encoder(input_ids=batch.input_ids).last_hidden_state
    return hidden[:, :longest], batch.attention_mask[:, :longest]


class Reader(nn.Module):
    """Linear heads that classify the attributes from every token; the last class of each means "not mentioned"."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values) + 1) for name, values in ATTRIBUTES.items()})

    def forward(self, hidden: Tensor, mask: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, float]:
        """Hidden states [B, L, 96], mask [B, L], classes [B] each -> loss, and share of captions read wholly right."""
        loss, right = hidden.new_zeros(()), torch.ones(len(hidden), dtype=torch.bool)
        weight = mask / mask.sum()
        for name, head in self.heads.items():
            logits = head(hidden)
            target = targets[name][:, None].expand(mask.shape)
            loss = loss + (F.cross_entropy(logits.mT, target, reduction="none") * weight).sum()
            right &= (logits[:, 0].argmax(-1) == targets[name]) & (logits.argmax(-1).mode(1).values == targets[name])
        return loss, float(right.float().mean())


def classes(scenes: list[Scene], said: list[Collection[str]]) -> dict[str, Tensor]:
    """The captions' class numbers [B] for each attribute."""
    pairs = list(zip(scenes, said, strict=True))
    return {
        name: torch.tensor(
            [values.index(getattr(scene, name)) if name in names else len(values) for scene, names in pairs]
        )
        for name, values in ATTRIBUTES.items()
    }


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the encoder with its reader, and saves `work`/text_encoder and `work`/tokenizer."""
    tokenizer, encoder, reader = tokens.build(), build(), Reader()
    factor = warm_start(encoder, release)
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    run = Run(work, "text_encoder", minutes, encoder=encoder, reader=reader, optimiser=optimiser)
    for step in run:
        for group in optimiser.param_groups:
            group["lr"] = factor * 2e-3 * learning_rate(run.fraction, step)
        scenes = draw_scenes(BATCH, run.rng)
        said = [said_attributes(run.rng) for _ in scenes]
        captions = [free_caption(*pair, run.rng) for pair in zip(scenes, said, strict=True)]
        loss, accuracy = reader(*embed(encoder, tokenizer, captions), classes(scenes, said))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        run.record(loss=loss.item(), accuracy=accuracy)
    encoder.eval().save_pretrained(work / "text_encoder")
    tokens.save(tokenizer, work / "tokenizer")
