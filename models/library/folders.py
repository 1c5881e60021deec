"""List what is in ComfyUI's model folders: the choices of a node, and their paths. No weights are opened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ..contract.vocabulary import Vocabulary
from ..weights import checkpoint, headers
from ..weights.errors import CheckpointError

BUILT_IN = {  # models that ship with the pack -> their folder in models/
    "pocket (built in)": "pocket",
    "pocket pyramid (built in)": "pocket_pyramid/diffusion_transformer_pocket",
    "pocket mochi (built in)": "pocket_mochi",
    "pocket sound (built in)": "pocket_sound",
    "pocket cogvideox (built in)": "pocket_cogvideox",
}
POCKET = next(iter(BUILT_IN))
SINGLE = ("diffusion_models", "checkpoints")
"""The kinds of folders with single model files."""
KINDS = ("diffusers/", *(f"{kind}/" for kind in SINGLE))
WEIGHTS = (".safetensors", ".gguf", ".sft", ".ckpt", ".pt")
LLM = ("LLM", "llm")
"""Folder names for text models; ComfyUI itself has no such folder."""
UPSCALERS = "latent_upscale_models"
"""ComfyUI's kind of models that upscale latents."""
_WRITES = re.compile(r"ForCausalLM$|^Gemma3ForConditionalGeneration$")
"""Classes of transformers that generate text."""


def comfyui_lists(kind: str) -> list[str]:
    """ComfyUI's list of a kind of model.

    ComfyUI raises while a folder that it has listed is gone, e.g. on an unmounted disk, so its memory of it is dropped.
    """
    try:
        return folder_paths.get_filename_list(kind)
    except OSError:
        folder_paths.filename_list_cache.pop(kind, None)
        return folder_paths.get_filename_list(kind)


def listed(kind: str) -> list[str]:
    """The files that ComfyUI lists for a kind of model, and the GGUF files beside them, which it does not list.

    GGUF files are registered as a separate kind in the same folders. So no other node's list changes, and ComfyUI
    caches ours.
    """
    quantised, folders = f"atelier_gguf_{kind}", folder_paths.folder_names_and_paths
    folders[quantised] = folders[kind][0], {".gguf"}
    return list(dict.fromkeys(comfyui_lists(kind) + comfyui_lists(quantised)))


def as_listed(name: str, names: Iterable[str]) -> str | None:
    """The entry of `names` that `name` means; None if there is none.

    It may differ in slashes: ComfyUI lists files in subfolders with those of its operating system, and graphs move
    between systems. A single model file may be named with its kind of folder, as older graphs do, or without, and a
    name without a folder finds the one file of that name in a subfolder.
    """
    names = list(names)
    same = [listed for listed in names if slashed(listed) == slashed(name)]
    if same:
        return name if name in same else same[0]
    kind, _, rest = slashed(name).partition("/")
    plain = rest if kind in SINGLE else slashed(name)
    meant = [listed for listed in names if slashed(listed) in (plain, *(f"{kind}/{plain}" for kind in SINGLE))]
    if not meant and "/" not in plain and plain.endswith(WEIGHTS):
        deeper = [listed for listed in names if file_name(listed) == plain]
        meant = deeper if len(deeper) == 1 else []
    return next(iter(meant), None)


def slashed(name: str) -> str:
    return name.replace("\\", "/")


def file_name(path: str) -> str:
    """The last part of a path with either slash."""
    return slashed(path).rpartition("/")[2]


def file_path(kind: str, name: str) -> Path:
    """The path of a file in ComfyUI's lists. `name` may have either slash. Raises FileNotFoundError."""
    path = folder_paths.get_full_path(kind, name)
    return Path(path or folder_paths.get_full_path_or_raise(kind, slashed(name)))


def model_choices() -> list[str]:
    """The name of every possible model: `diffusers/folder`, or a file's name.

    A file whose name is in two folders, or begins like a folder's kind, is listed with its kind before the name.
    """
    folders = [
        f"diffusers/{model.relative_to(root).as_posix()}"
        for root in folder_paths.get_folder_paths("diffusers")
        if Path(root).is_dir()
        for entry in sorted(Path(root).iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
        for model in checkpoint.models_in(entry)
    ]
    single = [(kind, name) for kind in SINGLE for name in listed(kind)]
    names = Counter(slashed(name) for _, name in single)
    clear = {
        name for name, count in names.items() if count == 1 and not name.startswith(KINDS) and name not in BUILT_IN
    }
    plain = [name if slashed(name) in clear else f"{kind}/{name}" for kind, name in single]
    return [*BUILT_IN, *dict.fromkeys(folders), *plain]


def model_path(choice: str) -> Path:
    """The path of a choice of `model_choices`, or of a name that an older graph has for one."""
    if choice in BUILT_IN:
        return Path(__file__).parents[1] / BUILT_IN[choice]
    kind, _, name = slashed(choice).partition("/")
    if kind == "diffusers":
        folders = [Path(root) / name for root in folder_paths.get_folder_paths(kind) if (Path(root) / name).is_dir()]
        return folders[0] if folders else Path(folder_paths.get_folder_paths(kind)[0]) / name
    kinds, wanted = ((kind,), name) if kind in SINGLE else (SINGLE, slashed(choice))
    for kind in (*kinds, *SINGLE):  # an older graph's kind first, then wherever the file is now
        if (found := as_listed(wanted, listed(kind))) is not None:
            return file_path(kind, found)
    return file_path(kinds[0], wanted)


def upscalers() -> list[str]:
    """What is in models/latent_upscale_models: files, and folders in diffusers' layout by their own name."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(UPSCALERS)]
    configs = [(root, config) for root in roots for config in sorted(root.rglob("*/config.json"))]
    folders = [config.parent.relative_to(root).as_posix() for root, config in configs if _upscales(config)]
    parts = {config.parent for _, config in configs}
    files = {name: folder_paths.get_full_path(UPSCALERS, name) for name in listed(UPSCALERS)}
    return [*(name for name, path in files.items() if path and Path(path).parent not in parts), *folders]


def _upscales(config: Path) -> bool:
    """Whether a config.json is an upscaler's. A damaged one counts, so that loading it reports the fault."""
    try:
        return "Upsampler" in str(headers.read_json(config).get("_class_name"))
    except (OSError, ValueError, AttributeError):
        return True


def upscaler_path(name: str) -> Path:
    """The path of a choice of `upscalers`. Raises FileNotFoundError."""
    folders = [Path(root) / slashed(name) for root in folder_paths.get_folder_paths(UPSCALERS)]
    return next((folder for folder in folders if folder.is_dir()), None) or file_path(UPSCALERS, name)


def vocabulary(choice: str) -> Vocabulary | None:
    """The vocabulary in the recipe.json of a choice of `model_choices`; None if the model knows ordinary language.

    Raises CheckpointError if it cannot be used.
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
    """The path of a choice of `text_models`."""
    choice = slashed(choice)
    name = choice.split("/", 1)[1]
    return next((root / name for root in _llm() if (root / name).exists()), Path(folder_paths.models_dir) / choice)


def _llm() -> list[Path]:
    """The folders of text models, including those that extra_model_paths.yaml or another pack adds."""
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
    """Whether a config.json is a text model's. A damaged one counts, so that loading it reports the fault."""
    try:
        classes = headers.read_json(config).get("architectures") or []
        return any(_WRITES.search(str(name)) for name in classes)
    except (OSError, ValueError, AttributeError, TypeError):
        return True
