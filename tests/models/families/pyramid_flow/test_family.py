"""Pyramid Flow as the pack's families: which checkpoints are recognised, and how its sampler is connected."""

from __future__ import annotations

import logging
from pathlib import Path

import published
import pytest
import torch
from atelier.models.families.pyramid_flow import autoencoder, shot
from atelier.models.families.pyramid_flow import family as pyramid_flow
from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, normalised
from atelier.models.families.pyramid_flow.known_frames import BACKWARD, WHOLE
from atelier.models.families.pyramid_flow.network import OPTION, StageContext
from atelier.models.families.pyramid_flow.shot import sample_shot
from atelier.models.families.pyramid_flow.transformer import PyramidDiffusionMMDiT
from atelier.models.streaming import passes
from atelier.models.weights.checkpoint import Checkpoint, Component
from safetensors.torch import save_file

MINIFLUX, SD3 = pyramid_flow.FAMILIES
KEYS = {"miniflux": "miniflux_transformer", "sd3": "sd3_transformer"}


def checkpoint(shapes: dict, config: dict | None = None, path: str = "pyramid_flow_miniflux_bf16.safetensors"):
    return Checkpoint(Path(path), Component("network", (), shapes, config=config or {}))


def variant(path: str = "768p", **config):
    return MINIFLUX.recognise(checkpoint({}, {"_class_name": "PyramidFluxTransformer", **config}, path))


@pytest.mark.parametrize("prefix", ["", "dit."])
@pytest.mark.parametrize("family,other", [(MINIFLUX, SD3), (SD3, MINIFLUX)], ids=["miniflux", "sd3"])
def test_single_files_are_recognised_by_their_keys(family, other, prefix, published_keys):
    published = published_keys(KEYS[family.name.split()[-1].lower()])
    found = checkpoint({prefix + key: shape for key, shape in published.items()})
    assert other.recognise(found) is None
    built = family.network(family.recognise(found)).state_dict()
    assert {key: tuple(weight.shape) for key, weight in built.items()} == published


def test_flux_is_not_taken_for_miniflux(published_keys):
    """FLUX.1 has the same keys; its heads are 128 wide."""
    shapes = {key: tuple(2 * n for n in shape) for key, shape in published_keys("miniflux_transformer").items()}
    assert MINIFLUX.recognise(checkpoint(shapes)) is None


def test_sd3_5_is_not_taken_for_miniflux(published_keys):
    """Stable Diffusion 3.5 names its norms like miniflux and embeds pictures like SD3."""
    shapes = {
        key.replace("norm_add_", "norm_added_"): shape for key, shape in published_keys("sd3_transformer").items()
    }
    assert MINIFLUX.recognise(checkpoint(shapes)) is None and SD3.recognise(checkpoint(shapes)) is None


@pytest.mark.parametrize("folder", ["384p", "768p", "image"])
def test_folders_are_recognised_by_their_configuration(folder):
    config = {"_class_name": "PyramidFluxTransformer", "num_layers": 8, "use_temporal_causal": True}
    found = checkpoint({}, config, f"miniflux/diffusion_transformer_{folder}")
    assert SD3.recognise(found) is None
    assert MINIFLUX.recognise(found).name == f"Pyramid Flow miniflux {folder}"
    assert dict(MINIFLUX.recognise(found).network) == {"num_layers": 8}


def test_training_checkpoints_lose_prefixes_and_other_parts():
    state = {"dit.proj_out.bias": torch.zeros(64), "vae.x": torch.zeros(1), "text_encoder.y": torch.zeros(1)}
    assert list(MINIFLUX.network_state(state)) == ["proj_out.bias"]


def test_a_left_out_table_of_positions_is_made():
    made = SD3.network_state({"pos_embed.proj.weight": torch.zeros(32, 16, 2, 2)})["pos_embed.pos_embed"]
    whole = PyramidDiffusionMMDiT(num_layers=1, num_attention_heads=2, attention_head_dim=16)
    assert torch.equal(made, whole.pos_embed.pos_embed)


def test_network_under_comfyuis_convention_equals_the_recorded(network, golden):
    """The history in transformer_options usually has one row for both prompts; here each prompt has its own."""
    record, plain = golden("flux_dit_calls"), network("flux")
    found = variant(**{key: plain.config[key] for key in plain.config if not key.startswith("_")})
    net = MINIFLUX.network(found)
    net.load_state_dict(plain.state_dict(), assign=True)
    stage = StageContext([record["b_history.clip0"], record["b_history.clip1"]])
    for _ in range(2):
        made = net(
            record["b_history.clip2"],
            record["b_history.timestep"],
            record["encoder_hidden_states"],
            attention_mask=record["encoder_attention_mask"],
            y=record["pooled_projections"],
            transformer_options={OPTION: stage},
        )
        assert (made - record["b_history.output"]).abs().max() <= 1e-5
    assert len(stage.layouts) == 1


@pytest.mark.parametrize("pooled,found", [(None, "none"), (torch.zeros(1, 2048), "2048")])
def test_text_of_another_models_encoders_is_refused(pooled, found):
    net = MINIFLUX.network(variant(num_layers=1, num_single_layers=1))
    x, text = torch.zeros(1, 16, 1, 8, 8), torch.zeros(1, 9, 4096)
    with pytest.raises(ValueError, match=f"miniflux reads CLIP's pooled text 768 wide.*has {found}"):
        net(x, torch.zeros(1), text, y=pooled)


@pytest.mark.parametrize("family", pyramid_flow.FAMILIES, ids=["miniflux", "sd3"])
def test_autoencoder_from_a_file(tmp_path, family, vae, golden):
    save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    shapes = {key: tuple(weight.shape) for key, weight in vae.state_dict().items()}
    config = {"_class_name": "CausalVideoVAE", **vae.config}
    component = Component("VAE", (tmp_path / "vae.safetensors",), shapes, config=config)
    built = family.autoencoder(component, variant())
    record, statistics = golden("vae"), STATISTICS[family.name.split()[-1].lower()]
    mean = normalised(record["moments_9"].chunk(2, dim=1)[0], statistics)
    latents = normalised(record["z_9"], statistics)
    assert (passes.encode(built, [record["x_9"]], 9, record["x_9"].shape[3:]) - mean).abs().max() <= 1e-4
    assert (torch.cat(list(passes.decode(built, latents)), dim=2) - record["decoded_9"]).abs().max() <= 1e-4
    assert family.autoencoder(Component("VAE", (), {"encoder.conv_in.weight": (1,)}), variant()) is None


def still(frame, guidance, options):
    return lambda x, timestep: torch.zeros_like(x)


def run(found, frames=3, prepare=still, known=None, mask=None, **changes):
    noise = torch.randn(1, 16, frames, 8, 8, generator=torch.Generator().manual_seed(0))
    known = torch.zeros_like(noise) if known is None else known
    chosen = dict(steps=2, guidance=5.0, seed=0, callback=lambda progress: None) | changes
    return sample_shot(found, prepare, noise, known, mask, **chosen)


def test_first_frame_has_its_own_steps_and_guidance():
    calls = []

    def watching(frame, guidance, options):
        def velocity(x, timestep):
            calls.append((frame, len(options[OPTION].history), guidance))
            return torch.zeros_like(x)

        return velocity

    run(variant(), prepare=watching)
    assert calls[:12] == [(0, 0, 7.0)] * 12
    assert calls[12:] == [(1, 1, 5.0)] * 6 + [(2, 1, 5.0)] * 2 + [(2, 2, 5.0)] * 4
    assert shot.settings(10, 1.0).first_guidance == 1.0


@pytest.mark.parametrize("name", sorted(path.stem for path in published.FOLDER.glob("pyramid-*.json")))
def test_recipe_makes_the_published_steps_and_guidance(name):
    """Of the image model's one frame, too: 9 (image_generation_demo.ipynb of its authors)."""
    told = published.config(name)["recipe"]
    recipe = variant(published.config(name)["folder"]).recipe
    chosen = shot.settings(recipe.steps, recipe.guidance)
    assert chosen.first_guidance == pytest.approx(told["first_frame_guidance"])
    assert told["guidance"] in (None, chosen.guidance)
    assert list(chosen.first_steps) == told["first_frame_steps"] and chosen.steps == (told["steps"],) * 3


def test_frames_stay_by_their_mask():
    known, mask = torch.randn(1, 16, 3, 8, 8), torch.ones(1, 1, 3, 8, 8)
    mask[:, :, 0], mask[:, :, 1] = 0.0, 0.4
    made = run(variant(), known=known, mask=mask)
    assert torch.equal(made[:, :, :2], known[:, :, :2]) and not torch.equal(made[:, :, 2], known[:, :, 2])


@pytest.mark.parametrize(
    "kept,unmet",
    [([0, 1], []), ([], []), ([0, 1, 2, 3], []), ([2], [BACKWARD]), ([0, 2], [BACKWARD])],
    ids=["beginning", "nothing", "everything", "end", "both ends"],
)
def test_kept_frames_that_nothing_leads_to_are_unmet(kept, unmet, caplog):
    """The node says so (test_comfy.py), so the sampler itself does not."""
    mask = torch.ones(1, 1, 4, 8, 8)
    mask[:, :, kept] = 0
    made = run(variant(), frames=4, known=torch.ones(1, 16, 4, 8, 8), mask=mask)
    assert (made[:, :, kept] == 1).all() and not caplog.records
    assert variant().known_frames.unmet(mask) == unmet


def test_a_part_of_a_frame_cannot_be_kept():
    mask = torch.ones(1, 1, 3, 8, 8)
    mask[..., :4] = 0
    made = run(variant(), known=torch.ones(1, 16, 3, 8, 8), mask=mask)
    assert variant().known_frames.unmet(mask) == [WHOLE] and not (made[..., :4] == 1).any()
    mask[:, :, 2] = 0
    assert variant().known_frames.unmet(mask) == [WHOLE, BACKWARD]


def test_seeds_differ_and_repeat():
    first, again, other = (run(variant(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_image_model_refuses_a_video():
    with pytest.raises(ValueError, match="single pictures.*3 frames"):
        run(variant("diffusion_transformer_image"))
    run(variant("diffusion_transformer_image"), frames=1)


def test_what_does_not_apply_is_said(caplog):
    with caplog.at_level(logging.INFO):
        run(variant("384p"), frames=17)
    assert "trained on clips of up to 121 frames" in caplog.text and "scheduler and denoise are not used" in caplog.text
    run(variant("384p"), known=torch.ones(1, 16, 3, 8, 8))
    assert "it generates a new clip" in caplog.text


def test_recommended_sizes_are_legal():
    for recipe in pyramid_flow.RECIPES.values():
        grid = autoencoder.GRID
        assert (recipe.width, recipe.height) == (grid.legal_side(recipe.width), grid.legal_side(recipe.height))
        assert recipe.frames == grid.legal_frames(recipe.frames)
    assert autoencoder.GRID.legal_side(700) == 704
