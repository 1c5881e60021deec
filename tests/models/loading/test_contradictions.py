"""Files whose parts contradict each other: what is wrong is named, and nothing is guessed silently."""

from __future__ import annotations

import json

import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import torch
from atelier.models.loading.identify import open_model

FOLDERS = {
    "LTX Video": tiny.folder,
    "CogVideoX": lambda path: tiny_cogvideox.folder(path, "5B"),
    "Mochi 1": tiny_mochi.folder,
}
LATENT = (1, 16, 3, 8, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("diffusers")
    return {family: write(base / family.replace(" ", "-")) for family, write in FOLDERS.items()}


@pytest.mark.parametrize("family", list(FOLDERS))
@pytest.mark.parametrize("other", list(FOLDERS))
def test_a_scheduler_config_of_another_model(folders, family, other):
    """It is not taken, and that is said; the model's own says nothing."""
    path = folders[family] / "scheduler" / "scheduler_config.json"
    own, foreign = path.read_text(), (folders[other] / "scheduler" / "scheduler_config.json").read_text()
    expected = open_model(folders[family])
    try:
        path.write_text(foreign)
        found = open_model(folders[family])
    finally:
        path.write_text(own)
    said = [note for note in found.variant.notes if "scheduler_config.json is another model's" in note]
    assert len(said) == (family != other)
    if family != other:
        name = json.loads(foreign)["_class_name"]
        assert name in said[0] or "invert_sigmas" in said[0]
    ours, theirs = (one.family.schedule(one.variant, 8, LATENT) for one in (found, expected))
    assert torch.isfinite(ours).all() and (family == "LTX Video" or torch.equal(ours, theirs))
