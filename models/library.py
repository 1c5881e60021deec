"""What lies in ComfyUI's model folders: the names on a node's list, and the paths behind them. Nothing is opened."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from . import files
from .expansion.vocabulary import Vocabulary

POCKET = "pocket (built in)"


def listed(kind: str) -> list[str]:
    """The files ComfyUI lists for a kind of model, and the GGUF files beside them, which it does not.

    Those are a kind of their own, in the same folders: no other node's list changes, and ComfyUI remembers ours.
    """
    quantised, folders = f"atelier_gguf_{kind}", folder_paths.folder_names_and_paths
    folders[quantised] = folders[kind][0], {".gguf"}
    return list(dict.fromkeys(folder_paths.get_filename_list(kind) + folder_paths.get_filename_list(quantised)))


def model_choices() -> list[str]:
    """`folder kind/name` of everything that could be a model; the kind keeps names apart that exist twice."""
    folders = [
        f"diffusers/{model.relative_to(root).as_posix()}"
        for root in folder_paths.get_folder_paths("diffusers")
        if Path(root).is_dir()
        for entry in sorted(Path(root).iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
        for model in files.models_in(entry)
    ]
    single = [f"{kind}/{name}" for kind in ("diffusion_models", "checkpoints") for name in listed(kind)]
    return [POCKET, *dict.fromkeys(folders), *single]


def model_path(choice: str) -> Path:
    """Where a choice of `model_choices` lies."""
    if choice == POCKET:
        return Path(__file__).parent / "pocket"
    kind, name = choice.split("/", 1)
    if kind == "diffusers":
        found = [Path(root) / name for root in folder_paths.get_folder_paths(kind) if (Path(root) / name).is_dir()]
        return found[0] if found else Path(folder_paths.get_folder_paths(kind)[0]) / name
    return Path(folder_paths.get_full_path_or_raise(kind, name))


def vocabulary(choice: str) -> Vocabulary | None:
    """The few words that a choice of `model_choices` knows, where its recipe.json tells of them."""
    if choice != POCKET and not choice.startswith("diffusers/"):
        return None  # a single file has no recipe.json
    return Vocabulary.of(files.recipe(model_path(choice)))
