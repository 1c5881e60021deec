"""Trains a small miniflux on cached latents, at every resolution of the pyramid, each frame with its history.

The objective is that of arXiv 2410.05954, section 3: a stage goes from the enlarged, noisier picture of the previous
stage to its own, along a straight line with the same noise at both ends.
"""

import copy
from functools import partial
from pathlib import Path

import torch
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from atelier.models.families.pyramid_flow.sampler import STAGES, history, pyramid
from atelier.models.families.pyramid_flow.schedule import TRAINING_STEPS, Stage
from atelier.models.families.pyramid_flow.transformer import PyramidFluxTransformer
from torch import Tensor
from torch.nn.functional import interpolate

from pocket import shared_text
from pocket.latents import cached_latents
from pocket.optim import Muon
from pocket.pyramid.autoencoder import encode
from pocket.shared_text import draw_captions, embed
from pocket.text_encoder import WIDTH
from pocket.training import Run, average, learning_rate, warm_start

SEEDS = range(1_000_000, 1_000_048)  # of 64 clips each
BATCH = 64
FIRST = 0.5  # share of steps on first frames, which follow from nothing but the text
HISTORY_NOISE = 1 / 3  # at most: when sampling, the network's own frames are not a perfect history either
POOLED = 8  # width of the CLIP that the layout requires, which is all zeros here
CONFIG = {
    "num_layers": 1,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 5,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": POOLED,
    "axes_dims_rope": (8, 12, 12),
}


def build() -> PyramidFluxTransformer:
    """A fresh transformer that predicts zero, with open gates, so that every block contributes from the first step."""
    net = PyramidFluxTransformer(**CONFIG)
    with torch.no_grad():
        net.proj_out.weight.zero_()
        net.proj_out.bias.zero_()
        norms = [norm for block in net.transformer_blocks for norm in (block.norm1, block.norm1_context)]
        for norm, parts, gates in (
            *((norm, 6, (2, 5)) for norm in norms),
            *((block.norm, 3, (2,)) for block in net.single_transformer_blocks),
        ):
            norm.linear.weight.mul_(0.3)
            norm.linear.bias.zero_()
            for gate in gates:
                norm.linear.bias.chunk(parts)[gate].fill_(1)
    return net


def noise_levels(stage: Stage) -> tuple[float, float]:
    """How much noise a stage starts with and ends with, 0..1."""
    before, after = (int(n * TRAINING_STEPS / len(STAGES)) / TRAINING_STEPS for n in (stage.index, stage.index + 1))
    return 1 - stage.keep * before, 1 - after


def ends(clean: list[Tensor], stage: Stage, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Where a stage starts and ends, for a frame at all sizes and noise of the stage's own, [B, C, 1, h, w] each."""
    start, end = noise_levels(stage)
    before = interpolate(clean[stage.index - 1], scale_factor=(1, 2, 2), mode="nearest") if stage.index else 0
    return (1 - start) * before + start * noise, (1 - end) * clean[stage.index] + end * noise


def corrupted(latents: Tensor) -> Tensor:
    """Finished frames with a little noise, as history for training."""
    level = HISTORY_NOISE * torch.rand(len(latents), 1, 1, 1, 1)
    return (1 - level) * latents + level * torch.randn_like(latents)


def loss_of(net: PyramidFluxTransformer, latents: Tensor, frame: int, text: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Velocity error of one frame of latents [B, C, T, h, w] at each stage; coarse stages take every second clip."""
    clean = pyramid(latents[:, :, frame : frame + 1])
    pyramids = [pyramid(part) for part in corrupted(latents[:, :, :frame]).split(1, dim=2)] if frame else []
    losses = []
    for stage in STAGES:
        part = slice(None, None, 1 if stage is STAGES[-1] else 2)
        noise = torch.randn_like(clean[stage.index][part])
        start, end = ends([level[part] for level in clean], stage, noise)
        sigma = torch.rand(len(noise))
        x = torch.lerp(end, start, sigma.view(-1, 1, 1, 1, 1))
        timestep = stage.last_timestep + (stage.first_timestep - stage.last_timestep) * sigma
        clips = [*(clip[part] for clip in history(pyramids, stage)), x]
        hidden, mask = (of[part] for of in text)
        layout = net.layout([clip.shape for clip in clips], mask)
        made = net(clips, timestep, hidden, hidden.new_zeros(len(x), POOLED), layout)
        losses.append((made - (start - end)).pow(2).mean())
    return losses


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the transformer with the autoencoder in `work`, and saves the average in `work`/transformer."""
    vae = CausalVideoVAE.from_pretrained(work / "causal_video_vae")
    latents, scenes = cached_latents(work, SEEDS, partial(encode, vae))
    encoder, tokenizer = shared_text.load()
    net = build()
    factor = warm_start(net, release)
    mean = copy.deepcopy(net).requires_grad_(False)
    adam_only = [net.x_embedder.weight, net.proj_out.weight, net.context_embedder.weight]
    optimiser = Muon(net.parameters(), lr=0.015, adam_lr=3e-3, weight_decay=0.01, adam_only=adam_only)
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step, warmup=20, flat=0.5))
        chosen = run.rng.sample(range(len(scenes)), BATCH)
        captions = draw_captions([scenes[i] for i in chosen], tokenizer, run.rng)
        frame = 0 if run.rng.random() < FIRST else run.rng.randrange(1, latents.shape[2])
        losses = loss_of(net, latents[chosen].float(), frame, embed(encoder, tokenizer, captions))
        optimiser.zero_grad()
        sum(losses).backward()
        optimiser.step()
        average(mean, net, step, decay=0.99)
        run.record(**{f"loss_{frame}_{stage}": loss.item() for stage, loss in enumerate(losses)})
    mean.save_pretrained(work / "transformer")
