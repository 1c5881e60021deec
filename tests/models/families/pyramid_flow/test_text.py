"""Pyramid Flow's text: T5's states without padding, and CLIP's pooled output, as transformers computes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.sd1_clip
import pytest
import tiny
import tiny_pyramid
import torch
from atelier.models.bridge.text_encoder import encode_text, make_t5_clip, style_of
from atelier.models.contract.family import Text
from atelier.models.families.pyramid_flow.family import TEXT
from atelier.prompts.styles import MODEL_STYLE, NO_STYLE, styled
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


def test_the_authors_words_are_the_models_own_style():
    """It is the default style. A clone of the CLIP, as LoRA loaders make it, keeps it. Other styles do not change."""
    t5 = tiny.t5()
    own = [
        style_of(clip)
        for text in (replace(TEXT, channels=tiny.TEXT_WIDTH), Text(tokens=128, channels=tiny.TEXT_WIDTH))
        for clip in [make_t5_clip(t5.state_dict(), None, text).clone()]
    ]
    assert own[0] and own[1] == ""
    words = [styled("a fox", "blurry", style, own[0]) for style in (MODEL_STYLE, NO_STYLE)]
    assert words == [("a fox, hyper quality, Ultra HD, 8K", "blurry"), ("a fox", "blurry")]
    assert styled("a fox", "", MODEL_STYLE, own[1]) == ("a fox", "")
    assert styled("a fox", "", "cinematic", own[0])[0].startswith("a fox, filmed")
