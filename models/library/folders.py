"""What lies in ComfyUI's model folders: the names on a node's list, and the paths behind them. Nothing is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ..contract.vocabulary import Vocabulary
from ..weights import checkpoint, headers
from ..weights.errors import CheckpointError

BUILT_IN = {  # what ships with the pack, by where it lies in models/
    "pocket (built in)": "pocket",
    "pocket pyramid (built in)": "pocket_pyramid/diffusion_transformer_pocket",
}
POCKET = next(iter(BUILT_IN))
LLM = ("LLM", "llm")
"""What the folder of text models is called; ComfyUI itself has none."""
_WRITES = re.compile(r"ForCausalLM$|^Gemma3ForConditionalGeneration$")
"""The classes of transformers that answer a text with a text."""


def listed(kind: str) -> list[str]:
    """The files ComfyUI lists for a kind of model, and the GGUF files beside them, which it does not.

    Those are a kind of their own, in the same folders: no other node's list changes, and ComfyUI remembers ours.
    """
    quantised, folders = f"atelier_gguf_{kind}", folder_paths.folder_names_and_paths
    folders[quantised] = folders[kind][0], {".gguf"}
    return list(dict.fromkeys(folder_paths.get_filename_list(kind) + folder_paths.get_filename_list(quantised)))


def as_listed(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is meant: `name` itself, or what differs from it in slashes alone; None where it is
    missing.

    ComfyUI lists files in subfolders with the slashes of the system it runs on, and graphs travel.
    """
    same = [listed for listed in names if slashed(listed) == slashed(name)]
    return name if name in same else next(iter(same), None)


def slashed(name: str) -> str:
    return name.replace("\\", "/")


def file_path(kind: str, name: str) -> Path:
    """Where a file of ComfyUI's lists lies, its folders separated by either slash. Raises FileNotFoundError."""
    found = folder_paths.get_full_path(kind, name)
    return Path(found or folder_paths.get_full_path_or_raise(kind, slashed(name)))


def model_choices() -> list[str]:
    """`folder kind/name` of everything that could be a model; the kind keeps names apart that exist twice."""
    folders = [
        f"diffusers/{model.relative_to(root).as_posix()}"
        for root in folder_paths.get_folder_paths("diffusers")
        if Path(root).is_dir()
        for entry in sorted(Path(root).iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
        for model in checkpoint.models_in(entry)
    ]
    single = [f"{kind}/{name}" for kind in ("diffusion_models", "checkpoints") for name in listed(kind)]
    return [*BUILT_IN, *dict.fromkeys(folders), *single]


def model_path(choice: str) -> Path:
    """Where a choice of `model_choices` lies."""
    if choice in BUILT_IN:
        return Path(__file__).parents[1] / BUILT_IN[choice]
    kind, name = choice.split("/", 1)
    if kind == "diffusers":
        name = slashed(name)
        found = [Path(root) / name for root in folder_paths.get_folder_paths(kind) if (Path(root) / name).is_dir()]
        return found[0] if found else Path(folder_paths.get_folder_paths(kind)[0]) / name
    return file_path(kind, name)


def vocabulary(choice: str) -> Vocabulary | None:
    """The few words that a choice of `model_choices` knows, where its recipe.json tells of them.

    Raises CheckpointError where that cannot be used.
    """
    if choice not in BUILT_IN and not choice.startswith("diffusers/"):
        return None  # a single file has no recipe.json
    try:
        return Vocabulary.of(checkpoint.recipe(checkpoint.repository(model_path(choice))))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"The recipe.json of {choice} has a vocabulary that cannot be used: {error}.") from error


def text_models() -> list[str]:
    """`LLM/name` of every text model in models/LLM: folders in transformers' layout, and GGUF files."""
    return list(dict.fromkeys(f"LLM/{path.relative_to(root).as_posix()}" for root in _llm() for path in _writers(root)))


def text_model_path(choice: str) -> Path:
    """Where a choice of `text_models` lies."""
    choice = slashed(choice)
    name = choice.split("/", 1)[1]
    return next((root / name for root in _llm() if (root / name).exists()), Path(folder_paths.models_dir) / choice)


def _llm() -> list[Path]:
    """The folders of text models, those that extra_model_paths.yaml or another pack adds among them."""
    own = [Path(folder_paths.models_dir) / kind for kind in LLM]
    known = folder_paths.folder_names_and_paths
    return [
        root for root in [*own, *(Path(p) for kind in LLM if kind in known for p in known[kind][0])] if root.is_dir()
    ]


def _writers(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.suffix == ".gguf" and not path.name.startswith("mmproj"):
            yield path
        elif path.name == "config.json" and path.parent != root and _writes(path):
            yield path.parent


def _writes(config: Path) -> bool:
    """Whether a config.json is of a text model. A damaged one may be: using it says what is wrong."""
    try:
        classes = headers.read_json(config).get("architectures") or []
        return any(_WRITES.search(str(name)) for name in classes)
    except (OSError, ValueError, AttributeError, TypeError):
        return True
