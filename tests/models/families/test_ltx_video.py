"""LTX Video from the files that artists have: original keys, with and without VAE, float8, T5 in several forms."""

from __future__ import annotations

import json

import comfy.ldm.lightricks.vae.causal_video_autoencoder as core_vae
import comfy.ops
import pytest
import tiny
import torch
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode
from atelier.models.families.ltx_video import family as ltx_video
from atelier.models.families.ltx_video import layouts
from atelier.models.families.ltx_video.versions import DISTILLED_SIGMAS
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights.checkpoint import Component, open_checkpoint
from atelier.models.weights.errors import CheckpointError
from atelier.models.weights.scaled_fp8 import dequantised
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file

VERSIONS = list(tiny.VERSIONS)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("version", VERSIONS)
def test_published_autoencoders_map_key_for_key(version):
    """At the published widths, on the meta device, every original key maps to a weight of the right shape."""
    with torch.device("meta"):
        original = core_vae.VideoVAE(version=tiny.VERSIONS[version]).state_dict()
    component = Component("VAE", (), {key: tuple(weight.shape) for key, weight in original.items()})
    layout = next(layout for layout in layouts.LAYOUTS if layout.recognises(component))
    with torch.device("meta"):
        expected = AutoencoderKLLTXVideo(**layout.config(component)).state_dict()
    mapped = layout.renamed(original)
    assert {k: v.shape for k, v in mapped.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("width,heads,layers", [(2048, 32, 28), (4096, 32, 48)], ids=["2B", "13B"])
def test_published_networks_map_key_for_key(width, heads, layers):
    sizes = dict(
        cross_attention_dim=width, attention_head_dim=width // heads, num_attention_heads=heads, num_layers=layers
    )
    with torch.device("meta"):
        original = tiny.LTXVModel(**sizes, operations=comfy.ops.disable_weight_init).state_dict()
    component = Component("network", (), {key: tuple(weight.shape) for key, weight in original.items()})
    config = ltx_video._network_config(component, {})
    with torch.device("meta"):
        expected = LTXVideoTransformer3DModel(**config).state_dict()
    mapped = layouts.network_state(original)
    assert {k: v.shape for k, v in mapped.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_single_file_autoencoder_equals_comfyuis_own(tmp_path, version):
    """ComfyUI's LTX VAE, another implementation, encodes and decodes the same with the same weights."""
    path = tiny.single_file(tmp_path / "ltx.safetensors", version)
    vae, core = load.load_vae(open_model(path)), tiny.core_autoencoder(version)
    pixels = torch.rand(9, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    latents = core.encode(pixels.movedim(-1, 0)[None] * 2 - 1)
    assert relative(vae.encode(pixels), latents) <= 1e-5
    if version == "0.9.0":  # later decoders add noise, which ComfyUI draws without a seed
        frames = core.decode(latents)[0].movedim(0, -1).add(1).div(2).clamp(0, 1)
        assert relative(decode(vae, latents), frames) <= 1e-5


@pytest.mark.parametrize(
    "prefix,version,causal",
    [("model.diffusion_model.", "v0.9", False), ("", "v0.9.5", True)],
    ids=["checkpoint, 0.9.0", "diffusion model, 0.9.5"],
)
def test_single_file_network_equals_comfyuis_own(tmp_path, prefix, version, causal):
    path = tiny.single_file(tmp_path / f"ltx-video-2b-{version}.safetensors", None, prefix)
    network, core = load.load_model(open_model(path)).model.diffusion_model, tiny.core_network()
    core.causal_temporal_positioning = causal  # which ComfyUI reads in the metadata
    generator = torch.Generator().manual_seed(0)
    x, text = (
        torch.randn(1, 128, 3, 2, 4, generator=generator),
        torch.randn(1, 16, tiny.TEXT_WIDTH, generator=generator),
    )
    mask, time = torch.tensor([[1] * 9 + [0] * 7]), torch.tensor([700.0])
    ours = network(x, time, text, attention_mask=mask, frame_rate=25)
    theirs = core(x, time / 1000, text, mask, frame_rate=25)  # ComfyUI's network takes sigma
    # ComfyUI rounds the position tables differently.
    assert relative(ours, theirs) <= 1e-4


def test_float8_file_computes_wider(tmp_path):
    path = tiny.single_file(tmp_path / "ltx-fp8.safetensors", "0.9.1", dtype=torch.float8_e4m3fn)
    plain = tiny.single_file(tmp_path / "ltx.safetensors", "0.9.1")
    stored = load.load_model(open_model(path), "float8_e4m3fn").model
    assert stored.diffusion_model.proj_in.weight.dtype == torch.float8_e4m3fn
    assert stored.diffusion_model.scale_shift_table.dtype == stored.get_dtype() == torch.float32
    x, text = torch.randn(1, 128, 2, 2, 2), torch.randn(1, 8, tiny.TEXT_WIDTH)
    whole = load.load_model(open_model(plain)).model
    outputs = [m.diffusion_model(x, torch.tensor([500.0]), text) for m in (stored, whole)]
    assert 0 < relative(*outputs) < 0.2
    unpacked = load.load_model(open_model(path)).model.diffusion_model  # "default": a CPU computes in float32
    assert unpacked.proj_in.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "form",
    [dict(dtype=torch.float16), dict(dtype=torch.float8_e4m3fn), dict(scaled=True)],
    ids=["fp16", "fp8", "scaled fp8"],
)
def test_text_encoder_from_the_artists_file(tmp_path, form):
    """It equals transformers' T5 with the stored numbers."""
    model = tiny.single_file(tmp_path / "ltx.safetensors", "0.9.1")
    encoder = tiny.t5_file(tmp_path / "t5xxl.safetensors", **form)
    clip = load.load_clip(open_model(model), lambda: [tmp_path / "clip_l.safetensors", encoder])
    ((embeds, options),), _ = encode_text(clip, "a red circle")
    ids = tiny.tokenizer()("a red circle", padding="max_length", max_length=128, return_tensors="pt")
    assert torch.equal(options["attention_mask"], ids.attention_mask)
    reference = tiny.t5()
    reference.load_state_dict(dequantised(load_file(encoder)), strict=False)
    assert relative(embeds, reference(ids.input_ids, attention_mask=ids.attention_mask)[0]) <= 1e-2


def test_vae_from_a_file_of_its_own(tmp_path):
    model = tiny.single_file(tmp_path / "ltx.safetensors", None)
    other = tiny.t5_file(tmp_path / "something_else.safetensors")
    with pytest.raises(CheckpointError, match="no VAE inside.*something_else"):
        load.load_vae(open_model(model), lambda: [other])
    save_file(tiny.core_autoencoder("0.9.5").state_dict(), tmp_path / "vae.safetensors")
    assert load.load_vae(open_model(model), lambda: [other, tmp_path / "vae.safetensors"]).latent_channels == 128


def test_distilled_is_told_by_name_and_by_metadata(tmp_path):
    path = tiny.single_file(tmp_path / "ltxv-2b-0.9.8-distilled.safetensors", "0.9.5")
    by_name = ltx_video.recognise(open_checkpoint(path))
    assert by_name.recipe.guidance == 1.0 and by_name.recipe.steps == 8
    sigmas = ltx_video.schedule(by_name, 8, (1, 128, 3, 16, 16))
    assert sigmas.tolist() == pytest.approx([*DISTILLED_SIGMAS, 0.0])
    assert len(ltx_video.schedule(by_name, 4, (1, 128, 3, 16, 16))) == 5
    config = {"transformer": {"causal_temporal_positioning": True}, "allowed_inference_steps": [1.0, 0.8, 0.3]}
    weights = {key: weight.contiguous() for key, weight in tiny.core_network().state_dict().items()}
    save_file(weights, tmp_path / "renamed.safetensors", {"config": json.dumps(config)})
    by_metadata = ltx_video.recognise(open_checkpoint(tmp_path / "renamed.safetensors"))
    assert by_metadata.recipe.guidance == 1.0 and by_metadata.recipe.steps == 3
    assert ltx_video.schedule(by_metadata, 3, (1, 128, 3, 16, 16)).tolist() == pytest.approx([1.0, 0.8, 0.3, 0.0])
    plain = ltx_video.recognise(open_checkpoint(tiny.single_file(tmp_path / "ltxv.safetensors", "0.9.5")))
    assert plain.recipe.guidance == 3.0


@pytest.mark.parametrize("length", [0x80, 0x4B50], ids=["pickle", "zip"])
def test_a_header_whose_length_looks_like_another_format(tmp_path, length):
    """A safetensors file begins with a length, whose bytes may equal the first bytes of any other format."""
    path = tiny.single_file(tmp_path / "ltx.safetensors", None)
    whole, size = path.read_bytes(), int.from_bytes(path.read_bytes()[:8], "little")
    padded = size + (length - size) % 0x10000
    path.write_bytes(padded.to_bytes(8, "little") + whole[8 : 8 + size].ljust(padded) + whole[8 + size :])
    assert ltx_video.recognise(open_checkpoint(path)).name == "LTX Video 2B"
