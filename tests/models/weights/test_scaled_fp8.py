"""Files with a scale for each fp8 matrix, of every family: the same numbers, stored in eight bits in memory."""

from __future__ import annotations

import adapters
import pytest
import quantised
import tiny
import tiny_mochi
import torch
from atelier.models.bridge.sampling import empty_latent, sample
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode
from atelier.models.families.ltx_video import layouts
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.loading.lora import add_lora
from atelier.models.weights.errors import CheckpointError
from atelier.models.weights.scaled_fp8 import dequantised
from quantised import NETWORKS, kept, loaded, numbers
from reference import relative
from safetensors.torch import load_file, save_file


def folded(path, state) -> dict[str, torch.Tensor]:
    """The numbers of a file: float8 times its scale."""
    stored = load_file(path)
    scales = {key: stored.get(key.removesuffix("weight") + "scale_weight", torch.ones(())) for key in state}
    return {key: stored[key].float() * scales[key] for key in state}


@pytest.mark.parametrize("layout", list(NETWORKS))
def test_network_has_the_files_numbers_in_a_byte_each(tmp_path, layout):
    make, shape = NETWORKS[layout]
    state = make()
    path = quantised.write_scaled(tmp_path / "model_fp8_scaled.safetensors", state)
    save_file({key: weight.contiguous() for key, weight in folded(path, state).items()}, tmp_path / "same.safetensors")
    network = loaded(load.load_model(open_model(path), "float32"))
    same = loaded(load.load_model(open_model(tmp_path / "same.safetensors"), "float32"))
    expected, ours, stored = same.state_dict(), numbers(network), network.state_dict()
    assert ours.keys() == expected.keys() and all(torch.equal(ours[key], expected[key]) for key in expected)
    assert len(kept(network)) > 10 and all(stored[key].dtype == torch.float8_e4m3fn for key in kept(network))
    if shape:
        x, text = torch.randn(shape), torch.randn(1, 8, tiny.TEXT_WIDTH)
        made, reference = (net(x, torch.tensor([500.0]), text) for net in (network, same))
        assert relative(made, reference) <= 1e-6


def test_what_its_maker_left_in_sixteen_bits_stays_so(tmp_path):
    state = {key: weight.bfloat16() for key, weight in tiny.core_network().state_dict().items()}
    scaled = [key for key in state if key.endswith("attn1.to_q.weight")]
    save_file(tiny.in_scaled_fp8(state, scaled), tmp_path / "model.safetensors")
    stored = loaded(load.load_model(open_model(tmp_path / "model.safetensors"), "bfloat16")).state_dict()
    found = {key: weight.dtype for key, weight in stored.items() if key.endswith(".weight") and weight.ndim == 2}
    assert {dtype for key, dtype in found.items() if key in scaled} == {torch.float8_e4m3fn}
    assert {dtype for key, dtype in found.items() if key not in scaled} == {torch.bfloat16}


def test_file_that_holds_everything(tmp_path):
    """The file that ComfyUI's examples recommend for Mochi: mochi_preview_fp8_scaled.safetensors."""
    path = tiny_mochi.everything(tmp_path / "mochi_preview_fp8_scaled.safetensors", scaled=True)
    model, clip, vae = (
        load.load_model(open_model(path)),
        load.load_clip(open_model(path)),
        load.load_vae(open_model(path)),
    )
    assert len(kept(model.model.diffusion_model)) > 10
    texts = [encode_text(clip, text)[0] for text in ("a red circle", "")]
    latent = empty_latent(model.model.variant.grid.latent_shape(48, 32, 13), 24.0)
    sigmas = model.model.family.schedule(model.model.variant, 2, tuple(latent["samples"].shape))
    made = sample(model, latent, *texts, seed=1, sigmas=sigmas, guidance=3.0)
    assert decode(vae, made["samples"]).shape == (13, 32, 48, 3)


def test_a_lora_comes_on_and_off(tmp_path):
    state = tiny.core_network().state_dict()
    path = quantised.write_scaled(tmp_path / "model.safetensors", state)
    modules = adapters.matrices(state)
    lora = adapters.adapter(state, modules)
    model = load.load_model(open_model(path), "float32")
    before = {key: weight.clone() for key, weight in loaded(model).state_dict().items()}
    applied = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.5)
    expected = layouts.network_state(adapters.merged(folded(path, state), lora, modules, strength=0.5))
    assert not applied.unused
    assert all(relative(weight, expected[key]) < 1e-2 for key, weight in numbers(loaded(applied.model)).items())
    applied.model.detach()
    after = loaded(model).state_dict()
    assert all(torch.equal(after[key].float(), before[key].float()) for key in before)


def test_scales_of_rows_become_part_of_the_numbers(tmp_path):
    state, key = tiny.core_network().state_dict(), "transformer_blocks.0.ff.net.0.proj.weight"
    scale = state[key].abs().amax(dim=1, keepdim=True) / 448
    rows = {key: (state[key] / scale).to(torch.float8_e4m3fn), key.replace("weight", "weight_scale"): scale}
    save_file(state | rows, tmp_path / "model.safetensors")
    network = loaded(load.load_model(open_model(tmp_path / "model.safetensors"), "float32"))
    assert relative(network.get_parameter(key), rows[key].float() * scale) < 4e-3  # they become bfloat16
    assert relative(dequantised(state | rows)[key].float(), state[key]) < 0.05


def test_scale_without_its_matrix(tmp_path):
    state, key = tiny.core_network().state_dict(), "transformer_blocks.0.ff.net.0.proj.weight"
    state = tiny.in_scaled_fp8(state, [key])
    del state[key]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="incomplete"):
        load.load_model(open_model(tmp_path / "model.safetensors"))


def test_another_kind_of_eight_bits_is_refused(tmp_path):
    state, key = tiny.core_network().state_dict(), "transformer_blocks.0.ff.net.0.proj.weight"
    strange = {
        key: state[key].to(torch.int8),
        key.replace("weight", "weight_scale"): torch.ones(state[key].numel() // 16),
    }
    save_file(state | strange, tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"stored as torch.int8 with \d+ scales \(int8.*\), which cannot be read.*GGUF"
    ):
        load.load_model(open_model(tmp_path / "model.safetensors"))
