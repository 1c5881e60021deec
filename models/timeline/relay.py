"""Prompt Relay (arXiv 2604.10030): the prompts of a scene in one text, each of which its own frames attend to.

A frame attends to a prompt's tokens with a penalty that grows with its distance from the prompt's span. So the scene is
sampled in one pass, whatever its prompts, and no weights change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

RELAY = "atelier_relay"
"""Conditioning key: [1, 2, tokens], for each token of a text the middle of its span and its reach, in latent frames."""
FREE = 2
"""Latent frames at either end of a span in which the penalty begins already, as its authors set it."""
SIGMA = 1 / math.log(1000)
"""The penalty's width in latent frames: it falls to a thousandth."""


def relayed(prompts: Sequence[tuple[torch.Tensor, dict[str, Any]]], spans: Sequence[tuple[int, int]]) -> list[Any]:
    """One entry of CONDITIONING, [text, options], of several prompts.

    prompts: (text [1, tokens, width], options) of each; its padding is left out. spans: the latent frames of each,
    (begin, end), the end exclusive.
    """
    texts, places = [], []
    for (text, options), (begin, end) in zip(prompts, spans, strict=True):
        mask = options.get("attention_mask")
        read = text if mask is None else text[:, mask[0].bool()]
        length = end - begin
        middle, reach = (2 * begin + length) // 2, max(length // 2 - FREE, 0)
        texts.append(read)
        places.append(torch.tensor([middle, reach]).float().view(1, 2, 1).expand(-1, -1, read.shape[1]))
    text = torch.cat(texts, dim=1)
    options = {**prompts[0][1], "attention_mask": torch.ones(1, text.shape[1], dtype=torch.long)}
    return [text, {**options, RELAY: torch.cat(places, dim=2)}]


def penalty(frames: torch.Tensor, relay: torch.Tensor) -> torch.Tensor:
    """What is subtracted from attention's scores: [B, n, tokens] for latent frames [B, n] and relay [B, 2, tokens]."""
    middle, reach = relay[:, 0, None], relay[:, 1, None]
    beyond = ((frames[:, :, None] - middle).abs() - reach).clamp(min=0)
    return beyond**2 / (2 * SIGMA**2)
