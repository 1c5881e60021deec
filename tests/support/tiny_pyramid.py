"""Tiny random Pyramid Flow checkpoints in the published folder layouts, and the single files artists have."""

from __future__ import annotations

from pathlib import Path

import tiny
import torch
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from atelier.models.families.pyramid_flow.transformer import PyramidDiffusionMMDiT, PyramidFluxTransformer
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

KINDS = {"miniflux": PyramidFluxTransformer, "sd3": PyramidDiffusionMMDiT}
CLIPS = {"clip_l": dict(layers=2, width=128, act="quick_gelu"), "clip_g": dict(layers=3, width=192, act="gelu")}
POOLED = {"miniflux": ("clip_l",), "sd3": ("clip_l", "clip_g")}
VAE = dict(
    encoder_block_out_channels=(32,) * 4,
    encoder_layers_per_block=(1, 2, 1, 1),
    decoder_block_out_channels=(32, 32, 64, 32),
    decoder_layers_per_block=(1, 1, 2, 1),
)


def network(kind: str) -> torch.nn.Module:
    pooled = sum(CLIPS[name]["width"] for name in POOLED[kind])
    sizes = dict(num_layers=2, num_attention_heads=1, joint_attention_dim=tiny.TEXT_WIDTH, pooled_projection_dim=pooled)
    singles = dict(num_single_layers=1) if kind == "miniflux" else {}
    return tiny.randomised(KINDS[kind](**sizes, **singles), seed=1, std=0.1)


def vae() -> CausalVideoVAE:
    return tiny.randomised(CausalVideoVAE(**VAE), seed=2, std=0.1)


def clip_encoder(name: str, projected: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    layers, width, act = CLIPS[name].values()
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        hidden_act=act,
        eos_token_id=49407,
        bos_token_id=49406,
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return tiny.randomised(kind(config), seed=layers, std=0.2).half().float()


def clip_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """An encoder's weights under their published names, whatever the version of transformers calls them."""
    return {
        key if key.startswith("text_") else f"text_model.{key}": weight
        for key, weight in module.state_dict().items()
        if "position_ids" not in key
    }


def clip_file(path: Path, name: str, projected: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: weight.half() for key, weight in clip_state(clip_encoder(name, projected)).items()}, path)
    return path


def folder(path: Path, kind: str, sizes: tuple[str, ...] = ("384p",)) -> Path:
    """A published repository: networks beside one VAE, the CLIP encoders and, last of them, T5. Returns a network's."""
    for size in sizes:
        network(kind).save_pretrained(path / f"diffusion_transformer_{size}")
    vae().save_pretrained(path / "causal_video_vae")
    for number, name in zip(("", "_2"), POOLED[kind], strict=False):
        clip_file(path / f"text_encoder{number}" / "model.safetensors", name, projected=kind == "sd3")
    last = f"_{len(POOLED[kind]) + 1}"
    tiny.t5().save_pretrained(path / f"text_encoder{last}")
    tiny.tokenizer().save_pretrained(path / f"tokenizer{last}")
    return path / f"diffusion_transformer_{sizes[0]}"


def network_file(path: Path, kind: str, prefix: str = "") -> Path:
    save_file({prefix + key: weight for key, weight in network(kind).state_dict().items()}, path)
    return path


def vae_file(path: Path) -> Path:
    save_file(vae().state_dict(), path)
    return path
