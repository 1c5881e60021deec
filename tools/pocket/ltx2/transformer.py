"""Rectified-flow training of the sound stream of a small LTX-2, beside the picture stream of the pocket model.

The picture stream stays as it is and does not read the sound. So a step costs little: gradients flow through the sound
alone, which reads the text and the picture. In some steps the picture, its first frames or the sound's beginning are
known, with a timestep per token, as in clips from an image and in extended ones.
"""

import copy
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from torch import Tensor, nn
from transformers import Gemma3ForConditionalGeneration

from pocket import shared_text
from pocket.autoencoder import encode as encode_video
from pocket.captions import free_caption, said_attributes
from pocket.latents import cached_latents
from pocket.ltx2 import audio, picture, sound, text
from pocket.ltx2.audio import LATENT_BINS, USED
from pocket.optim import Muon
from pocket.training import Run, average, learning_rate, warm_start
from pocket.transformer import draw_known, draw_sigma, pack
from pocket.world import Scene

FPS = 8.0
LENGTHS = {  # frames of clips -> the share of steps that train on them, and their seeds, of 64 clips each
    17: (0.75, range(1_000_000, 1_000_020)),
    25: (0.25, range(1_010_000, 1_010_008)),
}
BATCH = 16
NUMBERS = USED * LATENT_BINS  # of a sound token's, those that its decoder reads
KNOWN_FRAMES, KNOWN_PICTURE, KNOWN_SOUND = 0.25, 0.1, 0.2  # shares of steps
Conditions = tuple[Tensor, Tensor]
"""The text of both streams, [B, 32, 96] each."""


class Deaf:
    """The attention of a picture that does not read the sound: what its weights, zeros, give."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros_like(hidden_states)


def build() -> LTX2VideoTransformer3DModel:
    """The pocket's picture stream, and a fresh sound stream that predicts zero, with open gates."""
    net = picture.network()
    with torch.no_grad():
        for layer in (net.audio_proj_out, *_modulations(net)):
            layer.weight.zero_()
            layer.bias.zero_()
        net.audio_proj_in.weight[:, NUMBERS:] = 0
        net.audio_time_embed.linear.weight.mul_(0.3)
        for block in net.transformer_blocks:
            block.audio_to_video_attn.to_out[0].weight.zero_()
            block.audio_to_video_attn.to_out[0].bias.zero_()
            block.audio_scale_shift_table.mul_(0.1)
            block.audio_scale_shift_table[[2, 5]] += 1  # the gates
            for table in (block.video_a2v_cross_attn_scale_shift_table, block.audio_a2v_cross_attn_scale_shift_table):
                table.zero_()
                table[4] = 1
    return net


def _modulations(net: LTX2VideoTransformer3DModel) -> list[nn.Linear]:
    """What the noise level changes in attention between the streams: nothing, here."""
    names = ("video_scale_shift", "audio_scale_shift", "video_a2v_gate", "audio_v2a_gate")
    return [net.get_submodule(f"av_cross_attn_{name}.linear") for name in names]


def sound_parameters(net: LTX2VideoTransformer3DModel) -> list[nn.Parameter]:
    """The weights that are trained; all others are frozen."""
    net.requires_grad_(False)
    parts = [net.audio_proj_in, net.audio_caption_projection, net.audio_time_embed, net.audio_proj_out]
    trained = [net.audio_scale_shift_table]
    for block in net.transformer_blocks:
        parts += [block.audio_attn1, block.audio_attn2, block.video_to_audio_attn, block.audio_ff]
        trained += [block.audio_scale_shift_table, block.audio_a2v_cross_attn_scale_shift_table]
        block.audio_to_video_attn.processor = Deaf()
    trained += [parameter for part in parts for parameter in part.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    unread = slice(NUMBERS, None)
    net.audio_proj_in.weight.register_hook(lambda grad: audio.without(grad, (..., unread)))
    net.audio_proj_out.weight.register_hook(lambda grad: audio.without(grad, unread))
    return trained


def pack_sound(latents: Tensor) -> Tensor:
    """[B, 8, L, 16] -> tokens [B, L, 128]."""
    return latents.transpose(1, 2).flatten(2)


def unpack_sound(packed: Tensor) -> Tensor:
    """The inverse of `pack_sound`."""
    return packed.unflatten(2, (audio.CHANNELS, LATENT_BINS)).transpose(1, 2)


def velocity(
    net: LTX2VideoTransformer3DModel,
    packed: tuple[Tensor, Tensor],
    level: Tensor,
    sigmas: tuple[Tensor, Tensor],
    texts: Conditions,
    shape: tuple[int, int, int],
    fps: float,
) -> tuple[Tensor, Tensor]:
    """The velocities (noise minus clean) of packed picture and sound.

    level: the step's noise [B]. sigmas: those of either's tokens, [B, N], or [B, 1] if nothing of it is known.
    """

    def leveled(gate: nn.Module, arguments: tuple) -> tuple:
        return (
            level * 1000,
            *arguments[1:],
        )  # attention between the streams hears the step's level, as in LTX-2's code

    gates = (net.av_cross_attn_video_a2v_gate, net.av_cross_attn_audio_v2a_gate)
    hooks = [gate.register_forward_pre_hook(leveled) for gate in gates]
    frames, height, width = shape
    try:
        return net(
            hidden_states=packed[0],
            audio_hidden_states=packed[1],
            encoder_hidden_states=texts[0],
            audio_encoder_hidden_states=texts[1],
            timestep=sigmas[0] * 1000,
            audio_timestep=sigmas[1] * 1000,
            sigma=level * 1000,
            num_frames=frames,
            height=height,
            width=width,
            fps=fps,
            audio_num_frames=packed[1].shape[1],
            return_dict=False,
        )
    finally:
        for hook in hooks:
            hook.remove()


# ------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class Batch:
    """A training step: packed picture and sound, captions, and what is known of either, [B, tokens] of 0 or 1."""

    packed: tuple[Tensor, Tensor]
    shape: tuple[int, int, int]
    captions: list[str]
    known: tuple[Tensor, Tensor]


class Voices:
    """Encoded sounds of scenes, each of which is computed once: a scene's sound depends on three of its attributes."""

    def __init__(self, vae: AutoencoderKLLTX2Audio, length: int) -> None:
        self.vae, self.length, self.kept = vae, length, {}

    def of(self, scene: Scene) -> Tensor:
        """The latents [8, L, 16] of a scene's sound."""
        key = (scene.color, scene.size, scene.motion == "grow")
        if key not in self.kept:
            self.kept[key] = encode_sound(self.vae, [scene], self.length)[0]
        return self.kept[key]


def encode_sound(vae: AutoencoderKLLTX2Audio, scenes: list[Scene], length: int) -> Tensor:
    """The latents [B, 8, length, 16] of the scenes' sound."""
    waves = sound.waves(scenes, length / sound.PER_SECOND + 0.2)
    return audio.encode(vae, sound.spectrogram(waves, sound.columns(length)))


def draw_batch(latents: Tensor, scenes: list[Scene], voices: Voices, rng: random.Random) -> Batch:
    """Random clips, and what is known of them: nothing, frames, the whole picture, or the beginning of both."""
    chosen = rng.sample(range(len(scenes)), BATCH)
    clean = latents[chosen].float()
    shape = tuple(clean.shape[2:])
    heard = pack_sound(torch.stack([voices.of(scenes[i]) for i in chosen]))
    captions = []
    for i in chosen:
        nothing = rng.random() < shared_text.NO_CAPTION
        captions.append("" if nothing else free_caption(scenes[i], said_attributes(rng), rng))
    seen, before, kind = torch.zeros(BATCH, shape[0]), torch.zeros(BATCH, heard.shape[1]), rng.random()
    if kind < KNOWN_FRAMES:
        seen = torch.stack([draw_known(shape[0], None, rng) for _ in chosen])
    elif kind < KNOWN_FRAMES + KNOWN_PICTURE:
        seen = torch.ones_like(seen)
    elif kind < KNOWN_FRAMES + KNOWN_PICTURE + KNOWN_SOUND:
        frames = rng.randint(1, shape[0] - 1)
        seen[:, :frames] = 1
        before[:, : sound.length(4 * frames - 3, FPS)] = 1
    known = (seen.repeat_interleave(shape[1] * shape[2], 1), before)
    return Batch((pack(clean), heard), shape, captions, known)


def loss_of(net: LTX2VideoTransformer3DModel, batch: Batch, texts: Conditions) -> Tensor:
    """The sound's velocity error over tokens that are not known."""
    level = draw_sigma(len(batch.captions))
    noises = tuple(torch.randn_like(clean) for clean in batch.packed)
    sigmas = tuple(level * (1 - known) if known.any() else level for known in batch.known)
    noisy = tuple(
        clean + (noise - clean) * sigma[..., None]
        for clean, noise, sigma in zip(batch.packed, noises, sigmas, strict=True)
    )
    predicted = velocity(net, noisy, level[:, 0], sigmas, texts, batch.shape, FPS)[1]
    error = (predicted - (noises[1] - batch.packed[1]))[..., :NUMBERS].square().mean(-1)
    judged = 1 - batch.known[1]
    return (error * judged).sum() / judged.sum()


def load_text(work: Path) -> tuple:
    """Gemma and connectors of a folder, float32 and frozen, and the tokenizer."""
    encoder = Gemma3ForConditionalGeneration.from_pretrained(work / "text_encoder", dtype=torch.float32)
    parts = LTX2TextConnectors.from_pretrained(work / "connectors", dtype=torch.float32)
    return encoder.eval(), parts.eval(), text.tokenizer()


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the sound stream on the other stages' parts in `work`, and saves the average in `work`/transformer."""
    vae = picture.autoencoder()
    audio_vae = AutoencoderKLLTX2Audio.from_pretrained(work / "audio_vae").eval()
    kinds = []
    for frames, (_, seeds) in LENGTHS.items():
        (folder := work / f"latents_{frames}").mkdir(exist_ok=True)
        cached = cached_latents(folder, seeds, lambda video: encode_video(vae, video), frames=frames)
        kinds.append((*cached, Voices(audio_vae, sound.length(frames, FPS))))
    shares = [share for share, _ in LENGTHS.values()]
    words = load_text(work)
    net = build()
    factor = warm_start(net, release)
    mean = copy.deepcopy(net).requires_grad_(False)
    ends = [net.audio_proj_in.weight, net.audio_proj_out.weight]
    optimiser = Muon(sound_parameters(net), lr=0.01, adam_lr=2e-3, weight_decay=0.01, adam_only=ends)
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        batch = draw_batch(*run.rng.choices(kinds, shares)[0], run.rng)
        loss = loss_of(net, batch, text.embed(*words, batch.captions))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, net, step, 0.99)
        kind = "_known" if any(known.any() for known in batch.known) else ""
        run.record(**{"loss" + kind: loss.item()})
    mean.save_pretrained(work / "transformer")
