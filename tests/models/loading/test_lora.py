"""LoRAs of every trainer and layout on every family, against weights merged by hand and diffusers' pipelines."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import adapters
import comfy.model_management as memory
import comfy.sd
import pytest
import reference
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_mochi
import tiny_pyramid
import torch
from adapters import adapter, matrices, merged
from atelier.models.bridge.sampling import empty_latent, sample
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.families.ltx2 import layouts as ltx2_layouts
from atelier.models.families.ltx_video import layouts
from atelier.models.loading import load as checkpoint
from atelier.models.loading.identify import open_model
from atelier.models.loading.lora import add_lora, modules_of
from atelier.models.weights.errors import CheckpointError
from atelier.nodes.lora import summary
from benchmarks.layout import in_sat_layout
from comfy_extras.nodes_model_merging import ModelMergeSimple
from reference import relative
from safetensors.torch import save_file


def ltx() -> dict:
    return tiny.core_network().state_dict()


def ltx2() -> dict:
    return tiny_ltx2.network_file_state("2.3")


# Published layouts, original ones last: what writes the weights of each.
LAYOUTS = {
    "ltx": lambda: layouts.network_state(ltx()),
    "mochi": lambda: tiny_mochi.network().state_dict(),
    "cogvideox": lambda: tiny_cogvideox.network("5B").state_dict(),
    "pyramid miniflux": lambda: tiny_pyramid.network("miniflux").state_dict(),
    "pyramid sd3": lambda: tiny_pyramid.network("sd3").state_dict(),
    "ltx original": ltx,
    "mochi original": lambda: tiny_mochi.original(tiny_mochi.network().state_dict()),
    "cogvideox sat": lambda: in_sat_layout(tiny_cogvideox.network("5B").state_dict()),
    "cogvideox sat 2b": lambda: in_sat_layout(tiny_cogvideox.network("2B").state_dict()),
    "ltx2": lambda: ltx2_layouts.network_state(ltx2()),
    "ltx2 original": ltx2,
}


def load(path, state: dict):
    save_file({key: weight.contiguous().clone() for key, weight in state.items()}, path)
    return checkpoint.load_model(open_model(path))


def loaded_weights(model) -> dict:
    """The weights of a MODEL as loaded by ComfyUI, with patches applied."""
    memory.load_models_gpu([model], force_full_load=True)
    state = {key: weight.clone() for key, weight in model.model.diffusion_model.state_dict().items()}
    model.detach()
    return state


def adapted(state: dict) -> list[str]:
    """The matrices of a layout that the network has. SAT's table of positions is not used."""
    return [name for name in matrices(state) if "position_embeddings" not in name]


def styled() -> list:
    """Every layout with every trainer's style of names. The normal run tries each layout with three of the styles, in
    turn, so that each style meets several layouts."""
    cases = []
    for number, layout in enumerate(LAYOUTS):
        often = {(number * 3 + n) % len(adapters.STYLES) for n in range(3)}
        for place, style in enumerate(adapters.STYLES):
            cases.append(pytest.param(layout, style, marks=() if place in often else pytest.mark.slow))
    return cases + [(layout, style) for style in adapters.TRAINERS for layout in ("cogvideox", "mochi original")]


@pytest.mark.parametrize("layout,style", styled())
def test_every_matrix_of_every_layout_is_changed_as_merging_by_hand_does(tmp_path, layout, style):
    state = LAYOUTS[layout]()
    modules = adapted(state)
    lora = adapter(state, modules, style)
    model = load(tmp_path / "model.safetensors", state)
    expected = loaded_weights(load(tmp_path / "merged.safetensors", merged(state, lora, modules, style, 0.7)))
    before = loaded_weights(model)
    applied = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.7)
    after = loaded_weights(applied.model)
    assert not applied.unused
    assert applied.changed == sum(not torch.equal(expected[key], before[key]) for key in before) > 0
    assert all(torch.allclose(after[key], expected[key], atol=1e-6) for key in expected)
    assert all(torch.equal(weight, before[key]) for key, weight in loaded_weights(model).items())


def test_fused_attention_trained_apart(tmp_path):
    """SAT's trainer saves separate adapters for queries, keys and values, at a scale of 1 / rank."""
    state = LAYOUTS["cogvideox sat"]()
    generator, lora, expected = torch.Generator().manual_seed(1), {}, dict(state)
    for name, parts in (("query_key_value", 3), ("dense", 1)):
        key = f"transformer.layers.1.attention.{name}"
        rows, columns = (size // count for size, count in zip(state[f"{key}.weight"].shape, (parts, 1), strict=True))
        sizes = [((rows, 4), (4, columns))] * parts
        halves = [tuple(torch.randn(size, generator=generator) for size in pair) for pair in sizes]
        for n, (up, down) in enumerate(halves):
            lora |= {f"{tiny_mochi.PREFIX}{key}.matrix_A.{n}": down, f"{tiny_mochi.PREFIX}{key}.matrix_B.{n}": up}
        expected[f"{key}.weight"] = state[f"{key}.weight"] + torch.cat([up @ down / 4 for up, down in halves])
    applied = add_lora(
        load(tmp_path / "model.safetensors", state), adapters.file(tmp_path / "lora.safetensors", lora), 1.0
    )
    after, expected = loaded_weights(applied.model), loaded_weights(load(tmp_path / "merged.safetensors", expected))
    assert applied.changed == 4 and applied.blocks == (1, 2) and not applied.unused
    assert all(torch.allclose(after[key], expected[key], atol=1e-5) for key in expected)


@pytest.mark.parametrize(
    "noted,scale",
    [
        ({"lora_alpha": 6, "alpha_pattern": {}}, 6 / adapters.RANK),
        ({"lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 9}}, 9 / adapters.RANK),
        ({"lora_alpha": 6, "alpha_pattern": {"n1.to_q": 9}}, 6 / adapters.RANK),  # not the end of a name
        ({"lora_alpha": 6, "alpha_pattern": {"^transformer_blocks.0.attn1.to_q": 9}}, 9 / adapters.RANK),
        ({"lora_alpha": 6, "alpha_pattern": {"^attn1.to_q": 9}}, 6 / adapters.RANK),
        ({"lora_alpha": 6, "alpha_pattern": {r"transformer_blocks\.\d+\.attn1\.to_[qk]": 9}}, 9 / adapters.RANK),
        ({"lora_alpha": 6, "alpha_pattern": {"to_(q|k)": 9, "to_q": 12}}, 9 / adapters.RANK),  # the first that fits
        ({"lora_alpha": 6, "use_rslora": True}, 6 / adapters.RANK**0.5),
    ],
)
def test_scale_that_diffusers_notes_in_the_metadata(tmp_path, noted, scale):
    state, module = LAYOUTS["ltx"](), "transformer_blocks.0.attn1.to_q"
    lora = adapter(state, [module])
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in noted.items()})}
    file = adapters.file(tmp_path / "lora.safetensors", lora, metadata)
    after = loaded_weights(add_lora(load(tmp_path / "model.safetensors", state), file, 1.0).model)
    assert torch.allclose(
        after[f"{module}.weight"], merged(state, lora, [module], strength=scale)[f"{module}.weight"], atol=1e-5
    )


HAS_TO_BE = "Expected: what diffusers writes"


@pytest.mark.parametrize(
    "noted,named",
    [
        ('{"transformer.lora_alpha": 6, "transformer.alpha_pattern": {"(": 3}}', "alpha_pattern '\\('"),
        ('{"lora_alpha": 6, "alpha_pattern": {"(?=to_q)": 3}}', "not a regular expression that can be used"),
        ('{"lora_alpha": 6, "alpha_pattern": {"' + "(a)" * 300 + '": 3}}', "has 900 characters"),
        ('{"lora_alpha": 6, "alpha_pattern": ["to_q"]}', "'alpha_pattern' is not a JSON object"),
        ('{"lora_alpha": 6, "alpha_pattern": {"to_q": "3"}}', "alpha_pattern of 'to_q' is not a number"),
        ('{"lora_alpha": NaN}', "lora_alpha is not a number"),
        ('{"lora_alpha": 1' + "0" * 400 + "}", "lora_alpha is not a number"),
        ("[" * 100_000, "'lora_adapter_metadata' is not a JSON object"),
        ("[1]", "'lora_adapter_metadata' is not a JSON object"),
    ],
)
def test_a_note_of_alphas_that_cannot_be_used_is_named(noted, named):
    state = adapter(LAYOUTS["ltx"](), ["transformer_blocks.0.attn1.to_q"])
    with pytest.raises(CheckpointError, match=f"odd.safetensors cannot be used: .*{named}.*{HAS_TO_BE}"):
        modules_of(state, {"lora_adapter_metadata": noted}, "odd.safetensors")


def test_scale_that_finetrainers_notes_in_the_metadata(tmp_path):
    state, module = LAYOUTS["cogvideox"](), "transformer_blocks.0.attn1.to_q"
    lora = adapter(state, [module])
    noted = {"r": adapters.RANK, "lora_alpha": 6, "init_lora_weights": True, "target_modules": ["to_q"]}
    file = adapters.file(tmp_path / "lora.safetensors", lora, {"lora_config": json.dumps(noted, indent=4)})
    assert_scaled(load(tmp_path / "model.safetensors", state), file, merged(state, lora, [module], strength=6 / 3))


def test_scale_that_peft_saves_in_a_file_beside(tmp_path):
    state, module = LAYOUTS["cogvideox"](), "transformer_blocks.0.attn1.to_q"
    lora = adapter(state, [module], "peft")
    file = adapters.file(tmp_path / "adapter_model.safetensors", lora)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": adapters.RANK, "lora_alpha": 6}))
    expected = merged(state, lora, [module], "peft", strength=6 / 3)
    model = load(tmp_path / "model.safetensors", state)
    assert_scaled(model, file, expected)
    other = file.rename(tmp_path / "another.safetensors")  # the settings beside it are not its own
    assert_scaled(model, other, merged(state, lora, [module], "peft"))


def assert_scaled(model, file, expected: dict) -> None:
    after = loaded_weights(add_lora(model, file, 1.0).model)
    assert all(torch.allclose(after[key], expected[key], atol=1e-5) for key in expected)


def test_bias_and_norm_differences(tmp_path):
    state, block = LAYOUTS["mochi"](), "transformer_blocks.0.attn1"
    lora = {
        f"diffusion_model.{block}.to_out.0.diff": torch.ones_like(state[f"{block}.to_out.0.weight"]),
        f"diffusion_model.{block}.to_out.0.diff_b": torch.ones_like(state[f"{block}.to_out.0.bias"]),
        f"diffusion_model.{block}.norm_q.diff": torch.ones_like(state[f"{block}.norm_q.weight"]),
        f"diffusion_model.{block}.to_q.diff_b": torch.ones(16),  # this layer has no bias
    }
    file = adapters.file(tmp_path / "lora.safetensors", lora)
    applied = add_lora(load(tmp_path / "model.safetensors", state), file, 0.5)
    after = loaded_weights(applied.model)
    changed = [f"{block}.{name}" for name in ("to_out.0.weight", "to_out.0.bias", "norm_q.weight")]
    assert applied.unused == (f"diffusion_model.{block}.to_q",)
    assert all(torch.allclose(after[key], state[key] + 0.5 * (key in changed)) for key in after)


@pytest.mark.parametrize(
    "name", ["lycoris_transformer_blocks_0_attn1_to_q", "transformer.transformer_blocks.0.attn1.to_q"]
)
def test_other_kinds_of_adapters_are_comfyuis(tmp_path, name):
    """A Kronecker product (LoKr), as SimpleTuner saves it."""
    state, generator = LAYOUTS["ltx"](), torch.Generator().manual_seed(0)
    one, two = torch.randn(4, 4, generator=generator), torch.randn(16, 16, generator=generator)
    file = adapters.file(tmp_path / "lora.safetensors", {f"{name}.lokr_w1": one, f"{name}.lokr_w2": two})
    applied = add_lora(load(tmp_path / "model.safetensors", state), file, 0.5)
    key = "transformer_blocks.0.attn1.to_q.weight"
    assert applied.changed == 1 and not applied.unused
    assert torch.allclose(loaded_weights(applied.model)[key], state[key] + 0.5 * torch.kron(one, two), atol=1e-5)


def test_bare_tables_which_comfyui_never_patches_are_named(tmp_path):
    state, table = LAYOUTS["ltx"](), "transformer_blocks.0.scale_shift_table"
    lora = adapter(state, matrices(state)[:1]) | {f"diffusion_model.{table}.diff": torch.ones_like(state[table])}
    file = adapters.file(tmp_path / "lora.safetensors", lora)
    applied = add_lora(load(tmp_path / "model.safetensors", state), file, 1.0)
    assert applied.changed == 1 and applied.unused == (f"diffusion_model.{table}",)
    assert torch.equal(loaded_weights(applied.model)[table], state[table])


def test_peft_dora_is_refused(tmp_path):
    state = LAYOUTS["ltx"]()
    lora = adapter(state, ["proj_out"]) | {"transformer.proj_out.lora_magnitude_vector.weight": torch.ones(128)}
    with pytest.raises(CheckpointError, match="DoRA"):
        add_lora(load(tmp_path / "model.safetensors", state), adapters.file(tmp_path / "lora.safetensors", lora), 1.0)


def test_parts_without_a_place_are_named(tmp_path):
    state = LAYOUTS["ltx"]()
    modules = matrices(state)[:4]
    lora = adapter(state, modules) | {
        "transformer.transformer_blocks.99.attn1.to_q.lora_A.weight": torch.zeros(2, 64),
        "transformer.transformer_blocks.99.attn1.to_q.lora_B.weight": torch.zeros(64, 2),
        "text_encoder.encoder.block.0.lora_A.weight": torch.zeros(2, 64),
        "text_encoder.encoder.block.0.lora_B.weight": torch.zeros(64, 2),
        "transformer.something.else": torch.zeros(1),
        f"transformer.{modules[0]}.lora_B.bias": torch.zeros(64),
    }
    file = adapters.file(tmp_path / "lora.safetensors", lora)
    applied = add_lora(load(tmp_path / "model.safetensors", state), file, 1.0)
    assert applied.changed == 4
    assert applied.unused == (
        "text_encoder.encoder.block.0",
        f"transformer.{modules[0]}.lora_B.bias",
        "transformer.something.else",
        "transformer.transformer_blocks.99.attn1.to_q",
    )


@pytest.mark.parametrize("made_for,named", [("mochi", "Mochi 1"), ("pyramid sd3", "Pyramid Flow SD3")])
def test_lora_of_another_family_is_refused_with_its_name(tmp_path, made_for, named):
    state = LAYOUTS[made_for]()
    modules = [name for name in matrices(state) if "add_" in name or "single" in name]
    file = adapters.file(tmp_path / "lora.safetensors", adapter(state, modules))
    with pytest.raises(CheckpointError, match=f"changes nothing in LTX Video.*for .*{named}"):
        add_lora(load(tmp_path / "ltx.safetensors", LAYOUTS["ltx"]()), file, 1.0)


def test_lora_of_a_family_with_the_same_names_is_refused_by_size(tmp_path, monkeypatch):
    """Also where diffusers is too old for LTX-2, so that its names are not known."""
    monkeypatch.setattr("atelier.models.families.ltx2.family.DIFFUSERS", (99, 0))
    state = LAYOUTS["mochi"]()
    modules = [name for name in matrices(state) if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
    file = adapters.file(tmp_path / "lora.safetensors", adapter(state, modules))
    with pytest.raises(CheckpointError, match=r"is for a matrix of \[16, 16\], here it has \[64, 64\].*Mochi 1"):
        add_lora(load(tmp_path / "ltx.safetensors", LAYOUTS["ltx"]()), file, 1.0)


def test_image_models_lora_is_refused(tmp_path):
    names = [f"lora_unet_down_blocks_{n}_attentions_0_transformer_blocks_0_attn1_to_q" for n in range(3)]
    lora = {f"{name}.lora_{half}.weight": torch.zeros(4, 4) for name in names for half in ("up", "down")}
    file = adapters.file(tmp_path / "sdxl.safetensors", lora)
    with pytest.raises(CheckpointError, match="no supported family"):
        add_lora(load(tmp_path / "ltx.safetensors", LAYOUTS["ltx"]()), file, 1.0)


def test_float8_weights(tmp_path):
    state = LAYOUTS["ltx original"]()
    modules = matrices(state)
    lora = adapter(state, modules)
    path = tiny.single_file(tmp_path / "fp8.safetensors", version=None, dtype=torch.float8_e4m3fn)
    model = checkpoint.load_model(open_model(path), "float8_e4m3fn")
    applied = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 1.0)
    after = loaded_weights(applied.model)
    expected = layouts.network_state(merged(state, lora, modules))
    for key in (key for key, weight in after.items() if weight.dtype == torch.float8_e4m3fn):
        assert relative(after[key].float(), expected[key]) < 0.05  # of the sum, eight bits are kept
    assert loaded_weights(model)["proj_in.weight"].dtype == torch.float8_e4m3fn


# ------------------------------------------------------------------------------------------------ sampling

STRENGTHS = (0.8, -0.4)


def stacked(model, transformer: torch.nn.Module, folder):
    """Our MODEL with two LoRAs on it, and the same in the weights of the pipeline's network."""
    state = transformer.state_dict()
    modules = [name for name in matrices(state) if ".attn1.to_" in name]
    for seed, strength in enumerate(STRENGTHS):
        lora = adapter(state, modules, seed=seed)
        state = merged(state, lora, modules, strength=strength)
        model = add_lora(model, adapters.file(folder / f"{seed}.safetensors", lora), strength).model
    transformer.load_state_dict(state)
    return model


def test_two_on_ltx_sample_as_diffusers_does(tmp_path):
    case = reference.LTX("ltx-2b-0.9.1", tmp_path)
    model = stacked(case.folder.model, case.pipe.transformer, tmp_path)
    theirs, _ = case.answer(reference.T2V)
    without = reference.relative(case.made(case.folder, reference.T2V), theirs)
    latents = reference.relative(case.made(replace(case.folder, model=model), reference.T2V), theirs)
    assert latents <= 1e-5 < 1e-2 < without


PROMPT, STEPS, GUIDANCE = "a red circle moving left", 4, 3.0


def sampled(model, clip, shape: tuple, seed: int) -> torch.Tensor:
    inner = model.model
    texts = (encode_text(clip, text)[0] for text in (PROMPT, ""))
    sigmas = inner.family.schedule(inner.variant, STEPS, shape)
    latent = empty_latent(shape, 8.0)
    return sample(model, latent, *texts, seed=seed, sigmas=sigmas, guidance=GUIDANCE)["samples"]


@pytest.mark.parametrize("family", ["mochi", "cogvideox"])
def test_two_on_other_families_sample_as_diffusers_does(tmp_path, family):
    size, frames = dict(width=64, height=48), {"mochi": 13, "cogvideox": 9}[family]
    pipe = tiny_mochi.pipeline() if family == "mochi" else tiny_cogvideox.pipeline("5B")
    pipe.save_pretrained(tmp_path / "model")
    plain, clip = (
        checkpoint.load_model(open_model(tmp_path / "model")),
        checkpoint.load_clip(open_model(tmp_path / "model")),
    )
    model = stacked(plain, pipe.transformer, tmp_path)
    shape = model.model.variant.grid.latent_shape(**size, frames=frames)
    noise = torch.randn(shape, generator=torch.manual_seed(7))
    if family == "cogvideox":
        noise = noise.transpose(1, 2)
    words = dict(prompt=PROMPT, negative_prompt="", guidance_scale=GUIDANCE, num_inference_steps=STEPS)
    theirs = pipe(**size, **words, num_frames=frames, latents=noise, output_type="latent").frames
    theirs = theirs.transpose(1, 2) if family == "cogvideox" else theirs
    assert relative(sampled(model, clip, shape, 7), theirs) <= 5e-5
    assert relative(sampled(plain, clip, shape, 7), theirs) > 1e-2


@pytest.mark.parametrize("style", ["diffusers", "kohya"])
def test_a_control_lora_names_what_it_needs(tmp_path, style):
    """Finetrainers' control LoRAs read twice as many input channels: those of a control clip."""
    state = LAYOUTS["ltx"]()
    model = load(tmp_path / "model.safetensors", state)
    wider = state | {"proj_in.weight": torch.cat([state["proj_in.weight"]] * 2, dim=1)}
    lora = adapter(wider, matrices(state), style)
    applied = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 1.0)
    assert applied.changed and "a control LoRA: its" in applied.needs and "reads 2 times" in applied.needs
    assert f"This is {applied.needs}." in summary(applied)


def test_an_ic_lora_names_what_it_needs(tmp_path):
    state = LAYOUTS["ltx"]()
    model, lora = load(tmp_path / "model.safetensors", state), adapter(state, matrices(state))
    for name, metadata, needs in (
        ("ltxv-097-ic-lora-depth-control-comfyui", None, True),
        ("depth", {"reference_downscale_factor": "2"}, True),
        ("ltxv-magic-lora-of-mine", None, False),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file(lora, path, metadata)
        assert ("an IC-LoRA: it follows a reference clip" in add_lora(model, path, 1.0).needs) == needs


# ------------------------------------------------------------------------------------------------ core's own loader


def by_core(model, lora: dict, strength: float = 1.0):
    return comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)[0]


@pytest.mark.parametrize("layout,style", styled())
def test_cores_loader_loads_what_load_video_lora_loads(tmp_path, caplog, layout, style):
    state = LAYOUTS[layout]()
    model, modules = load(tmp_path / "model.safetensors", state), adapted(state)
    lora = adapter(state, modules, style)
    ours = loaded_weights(add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.7).model)
    cores, plain = loaded_weights(by_core(model, lora, 0.7)), loaded_weights(model)
    assert all(torch.allclose(cores[key], ours[key], atol=1e-6) for key in ours)
    assert any(relative(cores[key], plain[key]) > 0.01 for key in ours if ours[key].ndim == 2)
    assert not [record.getMessage() for record in caplog.records if "LoRA" in record.getMessage()]
    assert not [record.getMessage() for record in caplog.records if "not loaded" in record.getMessage()]


def test_what_cores_loader_has_no_place_for_is_said(tmp_path, caplog):
    state = LAYOUTS["ltx"]()
    model = load(tmp_path / "model.safetensors", state)
    other = tiny_mochi.network().state_dict()
    for lora, words in (
        (adapter(other, matrices(other)), "changes nothing: The file does not fit LTX Video 2B.*or for Mochi"),
        ({"a.b": torch.zeros(2)}, "changes nothing: The file is not a LoRA"),
        ({**adapter(state, matrices(state)[:3]), "nowhere.lora_A.weight": torch.zeros(2, 3)}, "nowhere has no lora_up"),
        ({**adapter(state, matrices(state)[:3]), "nowhere.diff": torch.zeros(2, 3)}, "no place in the model: nowhere"),
    ):
        caplog.clear()
        patched = by_core(model, lora)
        assert re.search(words, " ".join(record.getMessage() for record in caplog.records))
        assert len(patched.patches) == (3 if "nowhere.diff" in lora else 0)


def test_merging_two_models_passes_over_the_name_for_loras(tmp_path, caplog):
    """ModelMergeSimple adds one MODEL's weights to the other's as patches."""
    state = LAYOUTS["ltx"]()
    one = load(tmp_path / "one.safetensors", state)
    two = load(tmp_path / "two.safetensors", {key: weight * 2 for key, weight in state.items()})
    merged_model = ModelMergeSimple().merge(one, two, 0.25)[0]
    after, plain = loaded_weights(merged_model), loaded_weights(one)
    for name in matrices(plain):
        assert torch.allclose(after[f"{name}.weight"], plain[f"{name}.weight"] * 1.75, atol=1e-5), name
    assert "LoRA" not in caplog.text
