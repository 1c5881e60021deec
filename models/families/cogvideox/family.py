"""CogVideoX (THUDM) and CogVideoX-Fun (aigc-apps): diffusers' network and autoencoder, trailing schedule.

Sources: arXiv 2408.06072; the model cards and configs of THUDM/CogVideoX-2b, -5b, -5b-I2V, CogVideoX1.5-5B and
CogVideoX1.5-5B-I2V (sizes, frames, steps, guidance, tokens: the table on the card of zai-org/CogVideoX1.5-5B, and
sat/configs of github.com/THUDM/CogVideo); for Fun (InP, Control, Pose) github.com/aigc-apps/CogVideoX-Fun, whose
predict_i2v.py has its recipe.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import load_weights, without_weights
from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape, State
from ...contract.known_frames import KnownFrames
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Checkpoint, Component
from ...weights.errors import CheckpointError
from ...weights.key_names import exchange, renamed
from ...weights.scaled_fp8 import dequantised
from .known_frames import Concatenated, Controlled, Inpainted

# The autoencoder doubles the frame rate twice and tells a clip's first frame by an odd count: clips of 8n + 1 frames.
GRID = Grid(channels=16, temporal=4, spatial=8, group=2, patch=(1, 2))
# The cards advise at most 49 of them, and for 1.5 16n + 1 up to 161.
RECIPE = Recipe(720, 480, 49, fps=8, steps=50, guidance=6.0)
RECIPE_15 = Recipe(1360, 768, 81, fps=16, steps=50, guidance=6.0)
RECIPE_FUN = Recipe(672, 384, 49, 8, 50, 6.0, negative_prompt="low quality, low resolution, watermark, strange motion")
# Padding is attended, by the encoder and by the network: as in training.
TEXT = Text(tokens=226, network_sees_padding=True)
TOKENS_15 = 224
# The published scheduler_config.json; the 2B's SNR is shifted by 3, the 5Bs' not. Model cards sample with "trailing".
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "snr_shift_scale": 1.0,
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
}
SNR_SHIFT_2B = 3.0
# What stands for a terminal alpha of zero, whose sigma would be infinite: ComfyUI's own figure.
LAST_ALPHA = 4.8973451890853435e-08
# What the autoencoder's latents are multiplied with. The weights are the same, so no file of them tells.
SCALE_2B, SCALE_5B = 1.15258426, 0.7
HEADS_2B = 30
OFS = 2.0  # the one value that 1.5-5B-I2V's `ofs` embedding is given
# Fun's configs have more, which its authors' training read.
ARGUMENTS = inspect.signature(CogVideoXTransformer3DModel.__init__).parameters


# ------------------------------------------------------------------------------------------------ network


class CogVideoXNetwork(ComfyNetwork, CogVideoXTransformer3DModel):
    """diffusers' CogVideoX transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    def denoise(self, x: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        """v [B, 16, T, H, W] of the latent x [B, 16, T, H, W], or [B, 32, ...] with the known frames behind it.

        timestep: [B], 0..999. context: text [B, tokens, width], of which the padding is attended.
        """
        config, size = self.config, x.shape[3:]
        if config.use_learned_positional_embeddings and size != (config.sample_height, config.sample_width):
            raise ValueError(
                f"This model has learned the places in a picture of {config.sample_width * GRID.spatial} x "
                f"{config.sample_height * GRID.spatial} and makes no other size. Set that size, or 0 for both."
            )
        rotary = self.positions(*x.shape[2:], x.device) if config.use_rotary_positional_embeddings else None
        v = self.reference(
            hidden_states=x.transpose(1, 2),
            encoder_hidden_states=context,
            timestep=timestep,
            ofs=None if self.ofs_embedding is None else x.new_full((1,), OFS),
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        return v.transpose(1, 2)

    def positions(self, time: int, height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary cosines and sines [tokens, head_dim] for a latent of this size.

        1.0 stretches every picture into the one it was trained on; 1.5 counts from its corner.
        """
        config, patch = self.config, self.config.patch_size
        grid = (height // patch, width // patch)
        base = (config.sample_height // patch, config.sample_width // patch)
        common = dict(embed_dim=config.attention_head_dim, grid_size=grid, device=device)
        if config.patch_size_t is None:
            return get_3d_rotary_pos_embed(crops_coords=fitted(grid, base), temporal_size=time, **common)
        steps = -(-time // config.patch_size_t)
        return get_3d_rotary_pos_embed(
            crops_coords=None, temporal_size=steps, grid_type="slice", max_size=base, **common
        )


def fitted(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left and bottom right of a picture of `grid` (height, width) scaled into the middle of one of `base`."""
    (height, width), (base_height, base_width) = grid, base
    if height / width > base_height / base_width:
        size = base_height, round(base_height / height * width)
    else:
        size = round(base_width / width * height), base_width
    top, left = (round((room - side) / 2) for room, side in zip(base, size, strict=True))
    return (top, left), (top + size[0], left + size[1])


def build_network(variant: Variant) -> CogVideoXNetwork:
    with without_weights():
        network = CogVideoXNetwork(**variant.network)
    embed = network.patch_embed
    if not network.config.use_rotary_positional_embeddings:
        # A table that is computed, not stored.
        size = embed.sample_height, embed.sample_width, embed.sample_frames
        embed.pos_embedding = embed._get_positional_embeddings(*size)
    return network


SAT_NAMES = (
    (r"^transformer\.final_layernorm\.", "norm_final."),
    (r"^transformer\.layers\.(\d+)\.", r"transformer_blocks.\1."),
    (r"\.attention\.query_key_value\.", ".attn1.to_{}."),
    (r"\.attention\.dense\.", ".attn1.to_out.0."),
    (r"\.mlp\.dense_h_to_4h\.", ".ff.net.0.proj."),
    (r"\.mlp\.dense_4h_to_h\.", ".ff.net.2."),
    (r"\.input_layernorm\.", ".norm1.norm."),
    (r"\.post_attention_layernorm\.", ".norm2.norm."),
    (r"^(time|ofs)_embed\.0\.", r"\1_embedding.linear_1."),
    (r"^(time|ofs)_embed\.2\.", r"\1_embedding.linear_2."),
    (r"^mixins\.patch_embed\.", "patch_embed."),
    (r"^mixins\.pos_embed\.pos_embedding$", "patch_embed.pos_embedding"),
    (r"^mixins\.final_layer\.norm_final\.", "norm_out.norm."),
    (r"^mixins\.final_layer\.linear\.", "proj_out."),
    (r"^mixins\.final_layer\.adaLN_modulation\.1\.", "norm_out.linear."),
    (r"^mixins\.adaln_layer\.adaLN_modulations\.(\d+)\.1\.", r"transformer_blocks.\1.norm{}.linear."),
    (r"^mixins\.adaln_layer\.(query|key)_layernorm_list\.(\d+)\.", r"transformer_blocks.\2.attn1.norm_\1."),
    (r"\.norm_query\.", ".norm_q."),
    (r"\.norm_key\.", ".norm_k."),
)


def network_state(state: State) -> State:
    """SAT or diffusers key names -> diffusers key names. Weights are changed in place.

    SAT's tables that nothing reads are left out.
    """
    if not any(key.startswith(("transformer.layers.", "mixins.")) for key in state):
        return state
    out = {}
    for key in list(state):
        weight, name = state.pop(key), renamed(key, SAT_NAMES)
        if ".to_{}." in name:
            out |= {name.format(part): rows for part, rows in zip("qkv", weight.chunk(3), strict=True)}
        elif ".norm{}." in name:
            # Twelve parts: shift, scale and gate of attention and of what follows, for the clip and then for the text.
            _, other, text, _ = weight.chunk(4)
            exchange(other, text)
            out |= {name.format(part): rows for part, rows in zip((1, 2), weight.chunk(2), strict=True)}
        elif not name.startswith(("transformer.", "mixins.")):
            out[name] = weight
    if not _is_learned(out):
        out.pop("patch_embed.pos_embedding", None)
    return out


def _is_learned(weights: Any) -> bool:
    """5B-I2V has learned positions; the 2B's table is a fixed one. Both are in SAT files under the same name."""
    shape = getattr(weights["patch_embed.proj.weight"], "shape", weights["patch_embed.proj.weight"])
    return "patch_embed.pos_embedding" in weights and len(shape) == 4 and shape[1] == 2 * GRID.channels


# ------------------------------------------------------------------------------------------------ recognising


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """The CogVideoX variant of a folder or file, from config or keys; None when it is another model."""
    network = checkpoint.network
    shapes = {renamed(key, SAT_NAMES): shape for key, shape in network.shapes.items()}
    if network.config:
        if network.config.get("_class_name") != "CogVideoXTransformer3DModel":
            return None
        config = network.arguments
    elif "patch_embed.text_proj.weight" in shapes and "norm_final.weight" in shapes:
        config = network_config(shapes)
    else:
        return None
    return _variant(checkpoint, config)


def network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The network's arguments, read from the shapes under diffusers' names. All published heads are 64 wide."""
    width, text = shapes["patch_embed.text_proj.weight"]
    projection = shapes["patch_embed.proj.weight"]
    later = len(projection) == 2  # 1.5 embeds its patches, which last two latent frames, with a linear layer
    learned = _is_learned(shapes)
    ofs = shapes.get("ofs_embedding.linear_1.weight")
    return {
        "num_attention_heads": width // 64,
        "in_channels": projection[1] // 8 if later else projection[1],
        "out_channels": shapes["proj_out.weight"][0] // (8 if later else 4),
        "time_embed_dim": shapes["time_embedding.linear_1.weight"][0],
        "ofs_embed_dim": ofs[1] if ofs else None,
        "text_embed_dim": text,
        "num_layers": 1
        + max(int(found[1]) for key in shapes if (found := re.match(r"transformer_blocks\.(\d+)", key))),
        "patch_size_t": 2 if later else None,
        "patch_bias": not later,
        "sample_width": 300 if later else 90,
        "sample_height": 300 if later else 60,
        "sample_frames": 81 if later else 49,
        "max_text_seq_length": TOKENS_15 if later else TEXT.tokens,
        "use_rotary_positional_embeddings": width // 64 != HEADS_2B,
        "use_learned_positional_embeddings": learned,
    }


def _variant(checkpoint: Checkpoint, config: dict[str, Any]) -> Variant:
    later, small = config.get("patch_size_t") is not None, not config.get("use_rotary_positional_embeddings", False)
    channels = config.get("out_channels", 16)
    given = config.get("in_channels", 16) - channels
    kind = _kind(checkpoint, config, given, channels)
    size, fun = "2B" if small else "5B", kind in ("InP", "Control")
    recipe = RECIPE_15 if later else RECIPE
    scheduler = {**SCHEDULER, "snr_shift_scale": SNR_SHIFT_2B if small else 1.0, **checkpoint.scheduler}
    return Variant(
        name=f"CogVideoX{'-Fun' if fun else ''}{' 1.5' if later else ''} {size} {kind}".rstrip(),
        grid=replace(GRID, channels=channels, patch=(config.get("patch_size_t") or 1, config.get("patch_size", 2))),
        recipe=replace(RECIPE_FUN, frames=recipe.frames) if fun else recipe,
        network={name: value for name, value in config.items() if name in ARGUMENTS},
        text=replace(
            TEXT, tokens=config.get("max_text_seq_length", TEXT.tokens), channels=config.get("text_embed_dim", 4096)
        ),
        known_frames=_known_frames(kind, later, SCALE_2B if small else SCALE_5B),
        scheduler=scheduler,
        dtypes=("float16", "bfloat16", "float32") if small else ("bfloat16", "float32"),
    )


def _kind(checkpoint: Checkpoint, config: dict[str, Any], given: int, channels: int) -> str:
    """What a network is given beside the clip's `channels`: "" (nothing), "I2V", "InP" or "Control" (or Pose)."""
    if not given:
        return ""
    if given == channels:
        # As many for an image as for a control clip; those for images have something else, too.
        image = config.get("use_learned_positional_embeddings") or config.get("ofs_embed_dim")
        return "I2V" if image else "Control"
    if given == channels + 1:
        return "InP"
    raise CheckpointError(
        f"{checkpoint.path.name} is a CogVideoX that takes {given} channels beside the clip's {channels}: a fine-tune "
        f"that is not known here. Known are none (text to video), {channels} (I2V, Fun Control and Pose) and "
        f"{channels + 1} (Fun InP)."
    )


def _known_frames(kind: str, later: bool, scale: float) -> KnownFrames:
    if kind == "I2V":
        # 1.5 is given the image in the latent frame in front, before the clip's own first. Its authors divided that by
        # the scale which all other latents are multiplied with.
        return Concatenated(frames=2, scale=scale**-2) if later else Concatenated()
    return {"": KnownFrames(), "InP": Inpainted(scale=scale), "Control": Controlled()}[kind]


# ------------------------------------------------------------------------------------------------ schedule


def levels(variant: Variant) -> torch.Tensor:
    """Sigmas [1000] of the training timesteps, rising to the one that stands for pure noise."""
    alphas = CogVideoXDDIMScheduler.from_config(dict(variant.scheduler)).alphas_cumprod.double()
    alphas[-1] = max(alphas[-1].item(), LAST_ALPHA)
    return ((1 - alphas) / alphas).sqrt().float()


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] at CogVideoXPipeline's trailing timesteps. Euler steps over them are DDIM's with eta 0."""
    sigmas = levels(variant)
    timesteps = np.round(np.arange(len(sigmas), 0, -len(sigmas) / steps)).astype(np.int64) - 1
    return torch.cat([sigmas[torch.from_numpy(timesteps)], torch.zeros(1)])


def dynamic_guidance(guidance: float, timestep: int, steps: int) -> float:
    """The guidance at a timestep as CogVideoXPipeline has it with `use_dynamic_cfg`: 1 to 1 + guidance.

    Its authors meant a cosine that rises over the steps; the pipeline sets a timestep (999 to 0) against the number of
    steps, so with fewer than 1000 steps it goes up and down. Clips published with it were made so.
    """
    return 1 + guidance * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5.0)) / 2


# ------------------------------------------------------------------------------------------------ autoencoder


class CogVideoXAutoencoder(torch.nn.Module):
    """diffusers' CogVideoX autoencoder between pixels and the scaled latents the network sees."""

    decode_values = 22900.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        config, self.vae = vae.config, vae
        self.grid = replace(GRID, channels=config.latent_channels, spatial=2 ** (len(config.block_out_channels) - 1))

    def encode_values(self, frames: int) -> float:
        return 9530.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior. Pieces as diffusers has them: eight frames, more in the first one."""
        size, cache = self.vae.num_sample_frames_batch_size, None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            moments, cache = self.vae.encoder(piece, conv_cache=cache)
            if self.vae.quant_conv is not None:
                moments = self.vae.quant_conv(moments)
            return moments.chunk(2, dim=1)[0]

        return CodingPass(pieces(size + frames % size, size, frames), step)

    def decoding(self, frames: int) -> CodingPass:
        """The decoder's latents -> pixels. Pieces as diffusers has them: two latent frames, three first if it is odd.

        An even number of latent frames has no first one for this decoder: it gets its first again in front.
        """
        size, even, cache = self.vae.num_latent_frames_batch_size, frames % 2 == 0, None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            begins = even and cache is None
            if begins:
                piece = torch.cat([piece[:, :, :1], piece], dim=2)
            if self.vae.post_quant_conv is not None:
                piece = self.vae.post_quant_conv(piece)
            pixels, cache = self.vae.decoder(piece, conv_cache=cache)
            return pixels[:, :, self.grid.temporal :] if begins else pixels

        return CodingPass(pieces(size + (0 if even else 1), size, frames), step)

    def normal(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * self.vae.config.scaling_factor

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / self.vae.config.scaling_factor


def build_autoencoder(component: Component, variant: Variant) -> CogVideoXAutoencoder | None:
    """CogVideoX's VAE in diffusers' or SAT's layout, with its weights; None when it is another's."""
    config = component.arguments
    if component.config and component.config.get("_class_name") != "AutoencoderKLCogVideoX":
        return None
    shapes = {vae_name(key): shape for key, shape in component.shapes.items()}
    if MARK not in shapes:
        return None
    state = {vae_name(key): weight for key, weight in dequantised(component.state_dict()).items()}
    state = {key: weight for key, weight in state.items() if key.startswith(("encoder.", "decoder."))}
    with without_weights():
        vae = AutoencoderKLCogVideoX(**(config or vae_config(shapes, variant)))
    load_weights(vae, state, torch.float32, torch.float32)
    return CogVideoXAutoencoder(vae)


# A norm that reads the latent itself, in the first block of the decoder: no other family's autoencoder has it.
MARK = "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight"
VAE_NAMES = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.block\.", ".resnets."),
    (r"\.down\.", ".down_blocks."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)


def vae_name(key: str) -> str:
    """diffusers' name of SAT's key; SAT counts the decoder's blocks from its end."""
    key = re.sub(r"\.up\.(\d)\.", lambda found: f".up_blocks.{3 - int(found[1])}.", key)
    return renamed(key, VAE_NAMES)


def vae_config(shapes: dict[str, Shape], variant: Variant) -> dict[str, Any]:
    """The autoencoder's arguments, from the shapes under diffusers' names and from the variant it is for."""
    blocks = [f"encoder.down_blocks.{n}.resnets" for n in range(4)]
    return {
        "block_out_channels": tuple(shapes[f"{block}.0.conv1.conv.weight"][0] for block in blocks),
        "layers_per_block": sum(f"{blocks[0]}.{n}.conv1.conv.weight" in shapes for n in range(64)),
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "scaling_factor": SCALE_5B if variant.network.get("use_rotary_positional_embeddings") else SCALE_2B,
    }


FAMILY = Family(
    name="CogVideoX",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    levels=levels,
    dynamic_guidance=dynamic_guidance,
    preview="CogVideoX",
)
