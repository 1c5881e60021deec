"""Published files and folders at their real size: recognised, every key in its place, run as their authors do."""

from __future__ import annotations

import published_files
import pytest
import torch
from atelier.models.loading.identify import identify
from atelier.models.weights.checkpoint import Checkpoint, Component, models_in, open_checkpoint
from atelier.models.weights.errors import CheckpointError
from atelier.models.weights.quantised import shape_of
from atelier.models.weights.scaled_fp8 import with_scales

NOT_COMPARED = ("_class_name", "max_text_seq_length")
"""Of a config: the second is how long a prompt may be, which is compared as the text's own fact."""
IDS = [f"{variant}-{layout}" for variant, layout, _ in published_files.ROWS]


@pytest.fixture(autouse=True)
def weights_are_shapes(monkeypatch):
    """Load weights as shapes (meta device) and single numbers as they are, so nothing of these files is kept."""
    plain = Component.state_dict

    def state_dict(self: Component) -> dict[str, torch.Tensor]:
        return {key: weight if weight.numel() <= 1 else weight.to("meta") for key, weight in plain(self).items()}

    monkeypatch.setattr(Component, "state_dict", state_dict)


@pytest.mark.parametrize(("variant", "layout", "name"), published_files.ROWS, ids=IDS)
def test_published_files(tmp_path, variant, layout, name):
    told = published_files.facts(variant)
    checkpoint = open_checkpoint(published_files.write(tmp_path, variant, layout, name))
    family, found = identify(checkpoint)
    assert family.name == told["family"]
    assert told["size"].lower() in found.name.lower() if "size" in told else True
    assert ("distilled" in found.name) == told.get("distilled", False)
    assert told.get("kind", "") in found.name and ("Fun" in found.name) == told.get("fun", False)
    config, expected = _network(family, found)
    state = family.network_state(with_scales(_weights(family, checkpoint)))
    assert {key: shape_of(weight) for key, weight in state.items()} == expected
    _same_config(config, told["transformer"])
    _check_vae(family, found, checkpoint, told)
    _check_run(family, found, told, layout)


def _check_run(family, variant, told: dict, layout: str) -> None:
    """Check text, positions, schedule and recipe against its authors' code or ComfyUI graphs."""
    configured = told["transformer"].get("max_text_seq_length") if layout in ("folder", "beside", "bare") else None
    assert variant.text.tokens == (configured or told["text"]["max_tokens"])
    assert variant.network.get("causal_temporal_positioning", False) == told.get("causal_temporal_positioning", False)
    assert all("version" in note or told.get("licence", "?") in note for note in variant.notes)
    shift = told.get("scheduler", {}).get("snr_shift_scale")
    assert shift is None or variant.scheduler["snr_shift_scale"] == shift
    recipe, expected = variant.recipe, told.get("comfy_workflow") or told["recipe"]
    assert (recipe.width, recipe.height, recipe.frames) == tuple(expected[n] for n in ("width", "height", "frames"))
    words = expected.get("negative_prompt", told["recipe"].get("negative_prompt"))
    assert recipe.guidance == 1 or words is None or recipe.negative_prompt.strip() == words.strip()
    if family.name == "LTX Video":
        _check_ltx_schedule(family, variant, told)
        return
    assert (recipe.fps, recipe.steps) == (told["recipe"]["fps"], told["recipe"]["steps"])
    assert told["recipe"]["guidance"] in (None, recipe.guidance)
    if family.name == "LTX-2":
        _check_ltx2_run(family, variant, told)


def _check_ltx_schedule(family, variant, told: dict) -> None:
    """Distilled: the published levels. From 0.9.5 on linear-quadratic: 0.975 half-way. Before, shifted."""
    sigmas = family.schedule(variant, variant.recipe.steps, variant.grid.latent_shape(768, 512, 97))
    assert variant.recipe.guidance == (1.0 if told["distilled"] else 3.0)
    if told["distilled"]:
        levels = told["metadata_config"]["allowed_inference_steps"]
        assert sigmas.tolist() == pytest.approx([*levels, 0.0]) and variant.recipe.steps == len(levels)
        return
    middle = sigmas[len(sigmas) // 2].item()
    assert (middle == pytest.approx(0.975)) == told["causal_temporal_positioning"] and 0 < middle < 1


def _check_ltx2_run(family, variant, told: dict) -> None:
    """Distilled: the published levels. Else both streams' scales, and the block that is skipped."""
    recipe = told["recipe"]
    if told["distilled"]:
        sigmas = family.schedule(variant, variant.recipe.steps, variant.grid.latent_shape(768, 512, 121))
        assert sigmas.tolist() == pytest.approx([*recipe["levels"], 0.0]) and variant.guidance is None
        return
    names = {"text": "cfg_scale", "stg": "stg_scale", "modality": "modality_scale", "rescale": "rescale_scale"}
    for stream, published in (("video", recipe["video"]), ("sound", recipe["audio"])):
        scales = getattr(variant.guidance, stream)
        assert {theirs: getattr(scales, ours) for ours, theirs in names.items()} == published
    assert list(variant.guidance.skipped) == recipe["stg_blocks"]


def _weights(family, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The network's weights, and those of further parts that belong to it, as the loader puts them together."""
    state = checkpoint.network.state_dict()
    for name in family.network_parts:
        if part := checkpoint.parts.get(name):
            state |= {f"{name}.{key}": weight for key, weight in part.state_dict().items()}
    return state


_NETWORKS: dict[str, tuple] = {}


def _network(family, variant) -> tuple:
    """The config of a variant's network, and name -> shape of its weights. Equal variants share one."""
    key = f"{family.name} {variant.network}"
    if key not in _NETWORKS:
        network = family.network(variant)
        _NETWORKS[key] = network.config, published_files.shapes_of(network)
    return _NETWORKS[key]


def _same_config(ours, theirs: dict) -> None:
    """Check that every argument in both configs has the published value."""
    kept = {name: value for name, value in theirs.items() if name in ours and name not in NOT_COMPARED}
    found = {name: ours[name] for name in kept}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    assert plain == kept


def _check_vae(family, variant, checkpoint: Checkpoint, told: dict) -> None:
    """Check that the VAE inside, if there is one, is the published one."""
    if checkpoint.vae is None:
        return
    autoencoder = family.autoencoder(checkpoint.vae, variant)
    assert autoencoder is not None and autoencoder.grid == variant.grid
    if "vae" in told:
        _same_config(autoencoder.vae.config, {k: v for k, v in told["vae"].items() if k != "invert_scale_latents"})


def test_networks_that_share_a_folder_are_choices_of_their_own(tmp_path):
    for variant, name in (("cogvideox-1.5-5b", "transformer_T2V"), ("cogvideox-1.5-5b-i2v", "transformer_I2V")):
        published_files.write(tmp_path / name, variant, "beside", f"CogVideoX-5b-1.5/{name}")
    shared = tmp_path / "transformer_T2V" / "CogVideoX-5b-1.5"
    (tmp_path / "transformer_I2V" / "CogVideoX-5b-1.5" / "transformer_I2V").rename(shared / "transformer_I2V")
    assert [path.name for path in models_in(shared)] == ["transformer_I2V", "transformer_T2V"]
    names = [identify(open_checkpoint(path))[1].name for path in models_in(shared)]
    assert names == ["CogVideoX 1.5 5B I2V", "CogVideoX 1.5 5B"]
    with pytest.raises(CheckpointError, match="holds several models.*transformer_I2V, transformer_T2V.*Choose one"):
        open_checkpoint(shared)
    whole = published_files.write(tmp_path, "cogvideox-2b", "folder", "transformer_of_mine")  # a model of its own
    assert models_in(whole) == [whole] and identify(open_checkpoint(whole))[1].name == "CogVideoX 2B"
