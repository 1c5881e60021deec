"""v-prediction training of a small CogVideoX transformer on cached latents of the procedural world."""

import random
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from pocket import denoiser, shared_text
from pocket.captions import free_caption, said_attributes
from pocket.cogvideox.autoencoder import FRAMES, NUMBERS, encode
from pocket.latents import cached_latents
from pocket.text_encoder import WIDTH
from pocket.world import Scene

SEEDS = range(1_000_000, 1_000_048)  # of 64 clips each
HEADS, HEAD = 6, 32
GRID = (4, 4)  # patches of a picture
TOKENS = 32  # of a prompt; the network attends to its padding
CONFIG = {
    "num_attention_heads": HEADS,
    "attention_head_dim": HEAD,
    "num_layers": 5,
    "in_channels": NUMBERS,
    "out_channels": NUMBERS,
    "time_embed_dim": 64,
    "text_embed_dim": WIDTH,
    "sample_height": 8,
    "sample_width": 8,
    "sample_frames": FRAMES,
    "max_text_seq_length": TOKENS,
    "use_rotary_positional_embeddings": True,
}
SCHEDULER = {  # as published with the 5B
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
    "snr_shift_scale": 1.0,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def build() -> CogVideoXTransformer3DModel:
    """A fresh transformer that predicts zero, with open gates, so that every block contributes from the first step."""
    net = CogVideoXTransformer3DModel(**CONFIG)
    with torch.no_grad():
        net.proj_out.weight.zero_()
        net.proj_out.bias.zero_()
        net.norm_out.linear.weight.mul_(0.3)
    for block in net.transformer_blocks:
        for norm in (block.norm1, block.norm2):
            denoiser.open_gates(norm.linear, 6, (2, 5), 1.0)
    return net


def levels() -> Tensor:
    """(signal, noise) [1000, 2] of the training timesteps: a noisy clip is signal * clean + noise * noise."""
    alphas = CogVideoXDDIMScheduler(**SCHEDULER).alphas_cumprod.float()
    return torch.stack([alphas.sqrt(), (1 - alphas).sqrt()], 1)


def prediction(net: CogVideoXTransformer3DModel, noisy: Tensor, timestep: Tensor, hidden: Tensor) -> Tensor:
    """The network's v, signal * noise - noise * clean, for latents [B, C, T, h, w] and timesteps [B] in 0..999."""
    rotary = get_3d_rotary_pos_embed(HEAD, ((0, 0), GRID), GRID, noisy.shape[2])
    return net(noisy.transpose(1, 2), hidden, timestep, image_rotary_emb=rotary, return_dict=False)[0].transpose(1, 2)


@torch.no_grad()
def embed(encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    """Captions -> hidden states [B, 32, 96]; T5 sees the padding, as in CogVideoXPipeline."""
    batch = tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    return encoder(input_ids=batch.input_ids).last_hidden_state


def draw_captions(scenes: list[Scene], rng: random.Random) -> list[str]:
    """A caption for each scene, none for some of them, for guidance."""
    nothing = shared_text.NO_CAPTION
    return ["" if rng.random() < nothing else free_caption(scene, said_attributes(rng), rng) for scene in scenes]


def loss_of(net: CogVideoXTransformer3DModel, clean: Tensor, hidden: Tensor, table: Tensor) -> Tensor:
    """Error of v for latents [B, C, T, h, w] at random timesteps; table: `levels()`."""
    timestep, drawn = torch.randint(len(table), (len(clean),)), torch.randn_like(clean)
    signal, noise = table[timestep].view(-1, 2, 1, 1, 1, 1).unbind(1)
    v = prediction(net, signal * clean + noise * drawn, timestep, hidden)
    return (v - (signal * drawn - noise * clean)).pow(2).mean()


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the transformer with the autoencoder in `work`, and saves the average in `work`/transformer."""
    vae = AutoencoderKLCogVideoX.from_pretrained(work / "vae")
    data = cached_latents(work, SEEDS, partial(encode, vae))
    encoder, tokenizer = shared_text.load()
    net, table = build(), levels()

    def step(clean: Tensor, scenes: list[Scene], rng: random.Random) -> Tensor:
        return loss_of(net, clean, embed(encoder, tokenizer, draw_captions(scenes, rng)), table)

    adam_only = [net.patch_embed.proj.weight, net.patch_embed.text_proj.weight, net.proj_out.weight]
    denoiser.train(work, minutes, release, net, data, step, adam_only)
