"""Compares Pyramid Flow with a plain version of it: time per latent frame at equal output, and growth of memory.

The plain version follows the paper's formulas without shortcuts: the whole sequence with the prompt's padding, one
attention under one mask, positions and mask rebuilt at every step.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import gelu, layer_norm, linear, rms_norm, scaled_dot_product_attention, silu

from benchmarks.figure import Figure, interleaved, ratios, seconds_of

NETWORK = {
    "num_layers": 2,
    "num_single_layers": 4,
    "num_attention_heads": 4,
    "joint_attention_dim": 256,
    "pooled_projection_dim": 64,
}
SHAPE = (1, 16, 5, 24, 40)
"""240 tokens a frame, a quarter of 384p's."""
TEXT_TOKENS, PROMPT_TOKENS, GUIDANCE = 128, (20, 6), 5.0
LONG, SHORT = 31, 4
"""Latent frames of 241 and of 25 frames."""
VAE = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "encoder_layers_per_block": (1, 1, 1, 1),
    "decoder_block_out_channels": (32, 32, 64, 64),
    "decoder_layers_per_block": (1, 1, 1, 1),
}
ROUNDS = 3

Velocity = Callable[[torch.Tensor, float], torch.Tensor]
Prepare = Callable[[int, list[torch.Tensor], torch.Size], Velocity]


def pyramid() -> list[Figure]:
    """Time per latent frame; peak memory of the last of 31 frames over the first's, and of a long decode."""
    network = _network()
    texts = _texts()
    ours, plain = _ours(network, *texts), _plain(network, *texts)
    with torch.no_grad():
        return [_time(ours, plain), *_memory_of_frames(ours, plain), _memory_of_decode()]


def _time(ours: Prepare, plain: Prepare) -> Figure:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        contenders = {name: lambda way=way: _sampled(way) for name, way in (("ours", ours), ("plain", plain))}
        seconds = interleaved(ROUNDS, contenders, time.process_time)
    finally:
        torch.set_num_threads(threads)
    per_frame = {name: [s / SHAPE[2] for s in samples] for name, samples in seconds.items()}
    latents, expected = _sampled(ours), _sampled(plain)
    differ = ((latents - expected).norm() / expected.norm()).item()
    note = f"per latent frame {seconds_of(per_frame)}; latents differ by {differ:.1e}"
    return Figure("pyramid, time", ratios(*seconds.values()), 1.0, note=note)


def _sampled(prepare: Prepare) -> torch.Tensor:
    from atelier.models.families.pyramid_flow import sampler

    settings = sampler.Settings((1, 1, 1), (1, 1, 1))
    return sampler.sample(prepare, _noise(SHAPE), settings, sampler.seeded_block_noise(1))


def _memory_of_frames(ours: Prepare, plain: Prepare) -> list[Figure]:
    """Peak memory of a step of the last resolution, of the last of 31 frames over that of the first."""
    from atelier.models.families.pyramid_flow import sampler

    x = _noise((1, 16, 1, *SHAPE[3:]))
    finished = [sampler.pyramid(x)] * (LONG - 1)

    def step(prepare: Prepare, frame: int) -> float:
        history = sampler.history(finished[:frame], sampler.STAGES[-1])
        velocity = prepare(frame, history, x.shape)
        return peak(lambda: velocity(x, 300.0))

    figures = []
    for name, prepare in (("ours", ours), ("plain", plain)):
        first, last = (step(prepare, frame) for frame in (0, LONG - 1))
        note = f"{first / 1e6:.0f} MB for the first frame, {last / 1e6:.0f} MB for frame {LONG}, weights left out"
        figures.append(Figure(f"pyramid, growth, {name}", (last / first,), note=note))
    return figures


def _memory_of_decode() -> Figure:
    """Peak memory of decoding 241 frames over that of 25. Each piece is dropped when the next one arrives."""
    from atelier.models.streaming import passes

    vae = _autoencoder()

    def decode(frames: int) -> float:
        latents = _noise((1, 16, frames, 8, 8))
        return peak(lambda: [piece.shape for piece in passes.decode(vae, latents)])

    short, long = decode(SHORT), decode(LONG)
    note = f"{short / 1e6:.1f} MB for 25 frames, {long / 1e6:.1f} MB for 241"
    return Figure("pyramid, long decode", (long / short,), 1.05, note=note)


def peak(run: Callable[[], object]) -> float:
    """Peak bytes of the tensors that `run` makes."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        run()
    # The public events give only the sum of each operation's allocations; these give their times.
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


# ------------------------------------------------------------------------------------------------ both ways


def _ours(network: torch.nn.Module, text: torch.Tensor, mask: torch.Tensor, pooled: torch.Tensor) -> Prepare:
    def prepare(frame: int, history: list[torch.Tensor], shape: torch.Size) -> Velocity:
        layout = network.layout([*(clip.shape for clip in history), shape], mask)
        return _guided(lambda clips, timestep: network(clips, timestep, text, pooled, layout), history)

    return prepare


def _plain(network: torch.nn.Module, text: torch.Tensor, mask: torch.Tensor, pooled: torch.Tensor) -> Prepare:
    def prepare(frame: int, history: list[torch.Tensor], shape: torch.Size) -> Velocity:
        return _guided(
            lambda clips, timestep: plain_velocity(network, clips, timestep, text, mask.bool(), pooled), history
        )

    return prepare


def _guided(run: Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor], history: list[torch.Tensor]) -> Velocity:
    def velocity(x: torch.Tensor, timestep: float) -> torch.Tensor:
        clips = [clip.repeat(2, 1, 1, 1, 1) for clip in (*history, x)]
        positive, negative = run(clips, torch.full((2,), timestep)).chunk(2)
        return negative + GUIDANCE * (positive - negative)

    return velocity


def _network() -> torch.nn.Module:
    from atelier.models.families.pyramid_flow.transformer import PyramidFluxTransformer

    return _random(PyramidFluxTransformer(**NETWORK))


def _autoencoder() -> torch.nn.Module:
    from atelier.models.families.pyramid_flow.autoencoder import PyramidAutoencoder
    from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, CausalVideoVAE

    return PyramidAutoencoder(_random(CausalVideoVAE(**VAE)), STATISTICS["miniflux"])


def _random(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            spread = parameter[0].numel() ** -0.5
            parameter.data = spread * torch.randn(parameter.shape, generator=generator)
    return module.eval().requires_grad_(False)


def _texts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Text [2, tokens, width], its mask and pooled text [2, width]: the prompt first, then the negative prompt."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(2, TEXT_TOKENS, NETWORK["joint_attention_dim"], generator=generator)
    mask = (torch.arange(TEXT_TOKENS) < torch.tensor(PROMPT_TOKENS)[:, None]).long()
    return text, mask, torch.randn(2, NETWORK["pooled_projection_dim"], generator=generator)


def _noise(shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------ plain miniflux


def plain_velocity(
    network: torch.nn.Module,
    clips: Sequence[torch.Tensor],
    timestep: torch.Tensor,
    text: torch.Tensor,
    mask: torch.Tensor,
    pooled: torch.Tensor,
) -> torch.Tensor:
    """miniflux with the weights of `network`, formula by formula (arXiv 2410.05954; the authors' description).

    clips: [B, 16, T, h, w] each, oldest first. timestep: [B]. text, mask: [B, tokens, width], [B, tokens] bool.
    """
    where, when = _positions(clips, text.shape[1])
    valid = torch.cat([mask, mask.new_ones(mask.shape[0], len(when) - mask.shape[1])], dim=1)
    seen = (valid[:, :, None] == valid[:, None]) & (when[:, None] >= when[None])
    temb = _conditioning(network.time_text_embed, timestep, pooled)
    image = network.x_embedder(torch.cat([_patches(clip) for clip in clips], dim=1))
    text = network.context_embedder(text)
    for block in network.transformer_blocks:
        text, image = _double(block, text, image, temb, where, seen)
    both = torch.cat([text, image], dim=1)
    for block in network.single_transformer_blocks:
        both = _single(block, both, temb, where, seen)
    rows, columns = (side // 2 for side in clips[-1].shape[3:])
    scale, shift = network.norm_out.linear(silu(temb))[:, None].chunk(2, dim=-1)
    out = network.proj_out(_modulated(both[:, -rows * columns :], shift, scale))
    return out.view(-1, rows, columns, 2, 2, 16).permute(0, 5, 1, 3, 2, 4).reshape(clips[-1].shape)


def _patches(clip: torch.Tensor) -> torch.Tensor:
    batch, channels, frames, height, width = clip.shape
    cut = clip.view(batch, channels, frames, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 3, 5, 4, 6, 1).reshape(batch, -1, 4 * channels)


def _positions(clips: Sequence[torch.Tensor], text_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles [tokens, head_dim / 2] of the rotary positions (time, y, x), and the time of each token."""
    ids, time = [torch.zeros(text_tokens, 3)], 0
    for clip in clips:
        ratios = [newest / own for newest, own in zip(clips[-1].shape[3:], clip.shape[3:], strict=True)]
        y, x = (r * torch.arange(n // 2) + (r - 1) / 2 for r, n in zip(ratios, clip.shape[3:], strict=True))
        for _ in range(clip.shape[2]):
            ids.append(torch.cartesian_prod(torch.tensor([float(time)]), y, x))
            time += 1
    ids = torch.cat(ids)
    axes = [ids[:, n, None] * 10000.0 ** -(torch.arange(0, d, 2) / d) for n, d in enumerate((16, 24, 24))]
    return torch.cat(axes, dim=1), ids[:, 0]


def _conditioning(embed: torch.nn.Module, timestep: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    angles = timestep[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    time, words = embed.timestep_embedder, embed.text_embedder
    wave = torch.cat([angles.cos(), angles.sin()], dim=1)
    return time.linear_2(silu(time.linear_1(wave))) + words.linear_2(silu(words.linear_1(pooled)))


def _modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def _double(
    block: torch.nn.Module,
    text: torch.Tensor,
    image: torch.Tensor,
    temb: torch.Tensor,
    where: torch.Tensor,
    seen: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    attn = block.attn
    of_text = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj, attn.norm_added_q, attn.norm_added_k)
    of_image = (attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k)
    streams = [
        [text, block.norm1_context, of_text, attn.to_add_out, block.ff_context],
        [image, block.norm1, of_image, attn.to_out[0], block.ff],
    ]
    parts, chunks = [], []
    for x, norm, projections, _, _ in streams:
        chunks.append(norm.linear(silu(temb))[:, None].chunk(6, dim=-1))
        parts.append(_heads(_modulated(x, *chunks[-1][:2]), *projections))
    out = _attended(*(torch.cat(both, dim=2) for both in zip(*parts, strict=True)), where, seen)
    outputs, sizes = [], [text.shape[1], image.shape[1]]
    for (x, _, _, project, ff), part, chunk in zip(streams, out.split(sizes, dim=1), chunks, strict=True):
        _, _, gate, shift, scale, gate_ff = chunk
        x = x + gate * project(part)
        hidden = gelu(ff.net[0].proj(_modulated(x, shift, scale)), approximate="tanh")
        outputs.append(x + gate_ff * ff.net[2](hidden))
    return outputs[0], outputs[1]


def _single(
    block: torch.nn.Module, x: torch.Tensor, temb: torch.Tensor, where: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    shift, scale, gate = block.norm.linear(silu(temb))[:, None].chunk(3, dim=-1)
    normed, attn = _modulated(x, shift, scale), block.attn
    out = _attended(*_heads(normed, attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k), where, seen)
    hidden = gelu(block.proj_mlp(normed), approximate="tanh")
    return x + gate * linear(torch.cat([out, hidden], dim=-1), block.proj_out.weight, block.proj_out.bias)


def _heads(x: torch.Tensor, to_q, to_k, to_v, norm_q, norm_k) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value [B, heads, tokens, 64]."""
    query, key, value = (to(x).unflatten(-1, (-1, 64)).transpose(1, 2) for to in (to_q, to_k, to_v))
    return rms_norm(query, (64,), norm_q.weight, 1e-6), rms_norm(key, (64,), norm_k.weight, 1e-6), value


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, where: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    def turned(x: torch.Tensor) -> torch.Tensor:
        a, b = x[..., 0::2], x[..., 1::2]
        cos, sin = where.cos(), where.sin()
        return torch.stack([cos * a - sin * b, sin * a + cos * b], dim=-1).flatten(-2)

    out = scaled_dot_product_attention(turned(query), turned(key), value, attn_mask=seen[:, None])
    return out.transpose(1, 2).flatten(2)
