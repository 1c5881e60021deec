"""Open a checkpoint as its parts (network, VAE, text encoder). Only headers are read until weights are requested.

Safetensors and GGUF are supported. Pickles are refused unopened, because loading a pickle can run any code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import headers
from .errors import CheckpointError
from .gguf import GGUFTensors
from .safetensors_file import SafetensorsFile

# The key prefix of the text encoder in ComfyUI's all-in-one files.
T5_PREFIX = "text_encoders.t5xxl.transformer."
# Folder names in repositories where several networks share the VAE and text encoders beside them: Pyramid Flow's, and
# repackaged ones with a text-to-video and an image-to-video model.
SHARING_NETWORKS, SHARED_VAES = ("diffusion_transformer_", "transformer_"), ("causal_video_vae", "vae")


WHOLE_NUMBERS = ("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")
"""Integer dtypes of safetensors. Weights stored in them are quantised."""


@dataclass(frozen=True)
class Component:
    """The weights of one part: the keys under `prefix` in `files` (safetensors or GGUF).

    `config` is the part's config.json, {} for single files. `shapes` maps key (without prefix) -> shape.
    """

    name: str
    files: tuple[Path, ...]
    shapes: dict[str, tuple[int, ...]]
    prefix: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The config as arguments of the part's class, without diffusers' own entries (`_class_name`, ...)."""
        return {name: value for name, value in self.config.items() if not name.startswith("_")}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Key (without prefix) -> tensor, memory-mapped: it is copied only when it is used or converted."""
        state = {}
        for file in self.files:
            with _opened(file) as tensors:
                for key in tensors.keys():
                    if key.startswith(self.prefix) and key[len(self.prefix) :] in self.shapes:
                        state[key[len(self.prefix) :]] = tensors.get_tensor(key)
        return state

    def stored_bytes(self) -> int:
        """The bytes of its weights in their files. Only headers are read."""
        total = 0
        for file in self.files:
            with _opened(file) as tensors:
                for key in tensors.keys():
                    if key.startswith(self.prefix) and key[len(self.prefix) :] in self.shapes:
                        total += tensors.stored_bytes(key)
        return total


# Further parts of models with sound: their prefixes in single files, and their folders in diffusers' layout.
PART_PREFIXES = {"audio_vae": "audio_vae.", "vocoder": "vocoder.", "projection": "text_embedding_projection."}
PART_FOLDERS = ("connectors", "audio_vae", "vocoder")


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a model on disk, which is a diffusers folder or a single file. A missing part is None.

    text_encoder: T5, with its tokenizer. clips: the CLIP encoders beside it, by their names in family.Text.pooled.
    pipeline: the class that a folder's model_index.json names, or "". parts: further parts by name (contract's Part).
    """

    path: Path
    network: Component
    vae: Component | None = None
    text_encoder: Component | None = None
    tokenizer: Path | None = None
    clips: dict[str, Component] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    pipeline: str = ""
    parts: dict[str, Component] = field(default_factory=dict)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a diffusers folder, a safetensors or a GGUF file. Raises CheckpointError for anything else."""
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. Check the name, or choose another model in the loader.")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def models_in(folder: Path) -> list[Path]:
    """The models in a folder: its network folders if several share one repository, else the folder itself."""
    if _is_whole(folder):
        return [folder]
    networks = {path for prefix in SHARING_NETWORKS for path in folder.glob(f"{prefix}*") if path.is_dir()}
    return sorted(networks) or [folder]


def _is_whole(folder: Path) -> bool:
    """Whether a folder is one model in diffusers' layout; some downloads leave model_index.json out."""
    return (folder / "model_index.json").is_file() or (folder / "transformer").is_dir()


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a diffusers folder's repository, or the single file itself."""
    return sorted(repository(path).rglob("*.safetensors")) if path.is_dir() else [path]


def repository(path: Path) -> Path:
    """The folder that holds all parts of the model at `path`."""
    shares = path.name.startswith(SHARING_NETWORKS) and path.is_dir() and not _is_whole(path)
    return path.parent if shares else path


def recipe(folder: Path) -> dict[str, Any]:
    """The recipe.json of a model's folder, with its recommended settings; {} if there is none."""
    return _json_file(folder / "recipe.json")


def open_component(path: Path, name: str, prefixes: tuple[str, ...] = ("",)) -> Component:
    """One part, from a separate file or from a checkpoint that has it under one of `prefixes`."""
    shapes = _shapes(path)
    for prefix in prefixes:
        inside = {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}
        if inside:
            return Component(name, (path,), inside, prefix)
    raise CheckpointError(f"{path.name} has no {name}: none of its {len(shapes)} tensors starts with {prefixes}.")


def open_part(path: Path, name: str) -> Component:
    """One part by itself: a folder with a config.json, or a file, whose config is that of its metadata."""
    if path.is_dir():
        return _folder_component(path.parent, path.name, name)
    shapes = _shapes(path)
    with _opened(path) as tensors:
        metadata = tensors.metadata() or {}
    config = headers.parsed_json(metadata.get("config", "{}"), f"the metadata of {path.name}")
    return Component(name, (path,), shapes, config=config)


COPIED = 512 * 2**20
"""Files of up to this many bytes are copied by `read`."""


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors of a file, and its metadata. Tensors of a small file are copied, others are memory-mapped.

    The copy is a precaution: a trainer overwrites its LoRA under the same name, and if a mapped file is truncated, the
    whole process dies.
    """
    small = path.stat().st_size <= COPIED
    with _opened(path) as tensors:
        state = {key: tensors.get_tensor(key) for key in tensors.keys()}
        return {key: weight.clone() if small else weight for key, weight in state.items()}, tensors.metadata() or {}


def _open_file(path: Path) -> Checkpoint:
    shapes = _shapes(path)
    prefix = _network_prefix(shapes)
    others = () if prefix else ("vae.", *PART_PREFIXES.values())
    inside = {k[len(prefix) :]: s for k, s in shapes.items() if k.startswith(prefix) and not k.startswith(others)}
    vae = {k[4:]: s for k, s in shapes.items() if k.startswith("vae.")}
    t5 = {k[len(T5_PREFIX) :]: s for k, s in shapes.items() if k.startswith(T5_PREFIX)}
    with _opened(path) as tensors:
        metadata = tensors.metadata() or {}
    return Checkpoint(
        path=path,
        network=Component("network", (path,), inside, prefix),
        vae=Component("VAE", (path,), vae, "vae.") if vae else None,
        text_encoder=Component("text encoder", (path,), t5, T5_PREFIX) if t5 else None,
        metadata=headers.parsed_json(metadata.get("config", "{}"), f"the metadata of {path.name}"),
        parts={name: part for name, one in PART_PREFIXES.items() if (part := _under(path, shapes, name, one))},
    )


def _under(path: Path, shapes: dict[str, tuple[int, ...]], name: str, prefix: str) -> Component | None:
    """The part of a file whose keys begin with `prefix`, or None."""
    inside = {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}
    return Component(name, (path,), inside, prefix) if inside else None


def _network_prefix(keys: Iterable[str]) -> str:
    """The key prefix of a file's network. "transformer." counts only if all of the network's keys have it."""
    if any(key.startswith("model.diffusion_model.") for key in keys):
        return "model.diffusion_model."
    others = ("vae.", "text_encoder", "scaled_fp8", *PART_PREFIXES.values())
    own = [key for key in keys if not key.startswith(others)]
    return "transformer." if own and all(key.startswith("transformer.") for key in own) else ""


def _open_folder(path: Path) -> Checkpoint:
    if repository(path) != path:
        return _open_sharing(path)
    if models_in(path) != [path]:
        names = ", ".join(model.name for model in models_in(path))
        raise CheckpointError(f"{path} holds several models ({names}). Choose one of these folders inside it.")
    network = _folder_component(path, "transformer", "network")
    if network is None and not (path / "model_index.json").is_file():
        content = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise CheckpointError(
            f"{path} is not a diffusers model: it has neither a model_index.json nor a folder 'transformer'. Download "
            f"the whole repository into the folder (found: {content})."
        )
    if network is None:
        raise CheckpointError(f"{path} has no folder 'transformer', so it is not a video model in diffusers' layout.")
    return Checkpoint(
        path=path,
        network=network,
        vae=_folder_component(path, "vae", "VAE"),
        text_encoder=_folder_component(path, "text_encoder", "text encoder"),
        tokenizer=path / "tokenizer" if (path / "tokenizer").is_dir() else None,
        scheduler=_json_file(path / "scheduler" / "scheduler_config.json"),
        recipe=recipe(path),
        parts={name: part for name in PART_FOLDERS if (part := _folder_component(path, name, name))},
        pipeline=str(_json_file(path / "model_index.json").get("_class_name", "")),
    )


def _open_sharing(path: Path) -> Checkpoint:
    """One network of a repository where several share the parts. T5 and CLIP are distinguished by their weights."""
    network = _folder_component(path.parent, path.name, "network")
    t5, tokenizer, clips = None, None, []
    for number in ("", "_2", "_3"):
        encoder = _folder_component(path.parent, f"text_encoder{number}", "text encoder")
        if encoder is None:
            continue
        if "shared.weight" not in encoder.shapes:
            clips.append(encoder)
            continue
        t5, words = encoder, path.parent / f"tokenizer{number}"
        tokenizer = words if words.is_dir() else None
    return Checkpoint(
        path=path,
        network=network,
        vae=next(filter(None, (_folder_component(path.parent, name, "VAE") for name in SHARED_VAES)), None),
        text_encoder=t5,
        tokenizer=tokenizer,
        scheduler=_json_file(path.parent / "scheduler" / "scheduler_config.json"),
        clips=dict(zip(("clip_l", "clip_g"), clips, strict=False)),
        recipe=recipe(path.parent),
    )


def _folder_component(root: Path, folder: str, name: str) -> Component | None:
    where = root / folder
    if not where.is_dir():
        return None
    files = tuple(sorted(where.glob("*.safetensors")))
    if not files:
        content = ", ".join(sorted(p.name for p in where.iterdir())) or "nothing"
        raise CheckpointError(f"{where} has no .safetensors file (found: {content}). Download the missing weights.")
    # A repository may have the same weights twice (model.safetensors and model.fp16.safetensors): use one set.
    plain = tuple(f for f in files if ".fp16" not in f.name and ".bf16" not in f.name)
    files = plain or files
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes |= _shapes(file)
    for index in where.glob("*.safetensors.index.json"):
        weights = _json_file(index).get("weight_map")
        named = {str(file) for file in weights.values()} if isinstance(weights, dict) else set()
        if missing := sorted(named - {file.name for file in where.iterdir()}):
            listed = ", ".join([*missing[:8], *(["..."] if missing[8:] else [])])
            raise CheckpointError(f"{where} lacks {listed}, which {index.name} names. Download them.")
    return Component(name, files, shapes, config=_json_file(where / "config.json"), folder=where)


def _json_file(path: Path) -> dict[str, Any]:
    return headers.read_json(path) if path.exists() else {}


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor in a file. Raises CheckpointError if a tensor holds unreadable quantised blocks."""
    with _opened(path) as tensors:
        slices = {key: tensors.get_slice(key) for key in tensors.keys()}
        shapes = {key: tuple(tensor.get_shape()) for key, tensor in slices.items()}
        _refuse_blocks(path, {key: tensor.get_dtype() for key, tensor in slices.items()})
    return shapes


def _refuse_blocks(path: Path, dtypes: dict[str, str]) -> None:
    """Raise CheckpointError if a safetensors file holds the bytes of quantised blocks (Q4_0, NF4, ...).

    Their rows are shorter than the weight's rows. Without this check the model would be taken for one of another size,
    and its other files would seem not to fit. Integer matrices with a scale beside them are allowed.
    """
    scales = (".scale_weight", ".weight_scale", ".comfy_quant")
    for key, dtype in dtypes.items():
        module = key.removesuffix(".weight")
        if dtype in WHOLE_NUMBERS and key != module and not any(module + scale in dtypes for scale in scales):
            raise CheckpointError(
                f"{path.name} is quantised in a way that cannot be read here: its {key} is stored as {dtype}, and "
                "nothing in the file says how. Download the model in 16 bits, as fp8, or as a .gguf file."
            )


def _opened(path: Path) -> SafetensorsFile | GGUFTensors:
    """Open a file's tensors. Raises CheckpointError that names what the file really is."""
    head = headers.check(path)
    if head[:4] == b"GGUF":
        return GGUFTensors(path)
    if head[8:9] == b"{":  # tested before pickles: a header's length can begin with a pickle's first byte
        wrong = None
    elif head[:2] == b"PK" or head[:1] == b"\x80":
        wrong = "a pickle (.pt, .ckpt), which is never opened because loading one can run any code"
    else:
        wrong = "not a safetensors file (its header is missing)"
    if wrong:
        raise CheckpointError(
            f"{path.name} is {wrong}. Expected: a .safetensors or .gguf file. Download the model in that format."
        )
    return SafetensorsFile(path)
