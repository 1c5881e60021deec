"""Pyramid Flow's text: T5's states without padding, and CLIP's pooled output, as transformers computes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.sd1_clip
import pytest
import tiny
import tiny_pyramid
import torch
from atelier.models.bridge.text_encoder import encode_text, make_t5_clip
from atelier.models.families.pyramid_flow.family import TEXT
from transformers import CLIPTokenizer

PROMPTS = ["", "a red circle moving left", "a " * 300]


def tokens(text):
    tokenizer = CLIPTokenizer.from_pretrained(Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer"))
    return tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


@pytest.mark.parametrize("text", PROMPTS)
def test_miniflux_text_equals_transformers(text):
    t5, clip_l = tiny.t5(), tiny_pyramid.clip_encoder("clip_l", projected=False)
    wanted = replace(TEXT, channels=tiny.TEXT_WIDTH, pooled=("clip_l",), pooled_projected=False)
    clip = make_t5_clip(t5.state_dict(), None, wanted, {"clip_l": tiny_pyramid.clip_state(clip_l)})
    ((embeds, options),), _ = encode_text(clip, text)
    ids = tiny.tokenizer()(text, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
    mask = ids.attention_mask
    assert torch.equal(options["attention_mask"], mask)
    states = t5(ids.input_ids, mask)[0]
    assert (embeds - states)[mask.bool()].abs().max() <= 2e-3 * states.abs().max()
    pooled = clip_l(tokens(text)).pooler_output
    assert (options["pooled_output"] - pooled).abs().max() <= 2e-3 * pooled.abs().max()


@pytest.mark.parametrize("text", PROMPTS)
def test_sd3_pooled_text_equals_transformers(text):
    encoders = {name: tiny_pyramid.clip_encoder(name, projected=True) for name in ("clip_l", "clip_g")}
    wanted = replace(TEXT, channels=tiny.TEXT_WIDTH, pooled=tuple(encoders), pooled_projected=True)
    states = {name: tiny_pyramid.clip_state(encoder) for name, encoder in encoders.items()}
    clip = make_t5_clip(tiny.t5().state_dict(), None, wanted, states)
    ((_, options),), _ = encode_text(clip, text)
    pooled = torch.cat([encoder(tokens(text)).text_embeds for encoder in encoders.values()], dim=-1)
    assert (options["pooled_output"] - pooled).abs().max() <= 2e-3 * pooled.abs().max()
