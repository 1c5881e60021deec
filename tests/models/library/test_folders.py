"""What lies in the models' folders, while they come and go."""

from __future__ import annotations

import shutil

import folder_paths
import pytest
from atelier.models.library import folders, published


@pytest.mark.parametrize("kind", ["checkpoints", "loras", "vae", "latent_upscale_models"])
def test_a_folder_that_disappears_takes_its_files_along_and_no_request_down(tmp_path, monkeypatch, kind):
    """A shared folder that is unmounted: ComfyUI itself raises for as long as it is gone."""
    paths, suffixes = folder_paths.folder_names_and_paths.get(kind, ([], {".safetensors"}))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([*paths, str(tmp_path / "shared")], suffixes))
    file = tmp_path / "shared" / "deeper" / "ours.safetensors"
    for _ in range(2):  # it comes back
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        assert "deeper/ours.safetensors" in folders.comfyui_lists(kind)
        shutil.rmtree(tmp_path / "shared")
        with pytest.raises(OSError):
            folder_paths.get_filename_list(kind)
        assert "deeper/ours.safetensors" not in folders.comfyui_lists(kind) + published._listed(kind)
        assert folders.POCKET in folders.model_choices()
