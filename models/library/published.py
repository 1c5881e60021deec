"""The catalogue of published models: what can be fetched, from where, into which folder, and what of it is here.

The data is published.json beside this file. The owner's user/atelier/models.json may add entries of the same form, or
replace them by id. Names and paths are validated when they are read: a download never leaves ComfyUI's model folders,
and nothing is fetched that can hold code.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import folder_paths

from .fit import Memory
from .folders import SINGLE, comfyui_lists, file_name, listed, model_choices

OWN = Path(__file__).with_name("published.json")
MODEL, PARTS = "model", ("text encoder", "vae", "lora", "upscaler")
FOLDERS = ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "latent_upscale_models")
SUFFIXES = (".safetensors", ".gguf", ".json", ".model", ".txt")
"""Weights that hold no code, configs, and tokenizers (spiece.model, merges.txt)."""
MOST_BYTES = 10**12
_PATH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(/[A-Za-z0-9_*][A-Za-z0-9_.*-]{0,199}){0,4}")
_REPOSITORY = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"main|[0-9a-f]{40}")
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class CatalogueError(ValueError):
    """An entry of the catalogue that cannot be used; the message names it."""


@dataclass(frozen=True)
class File:
    """A file in a repository, and ComfyUI's folder that it belongs in.

    `bytes` and `sha256` are the published ones, where they are known. `size` is roughly how many bytes, where not.
    """

    path: str
    folder: str
    bytes: int | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        return file_name(self.path)

    @property
    def about(self) -> int:
        """Bytes, exact or approximate."""
        return self.bytes or self.size or 0


@dataclass(frozen=True)
class Published:
    """An entry: a model, or a part that models need.

    It has either `files`, or a `folder` ("diffusers/NAME") with all files of the repository that match `patterns`;
    `part` is the model's folder inside it, where a repository holds several. `needs`: for each needed part the entries
    to choose from, the one to fetch first. `alike`: parts of file names; a file of such a name serves instead.
    `variant` is the name of its facts in tests/published. `rank`: 1 is the best for a request that names no model of
    its own; 0: none. `memory`: what it takes at its authors' size.
    """

    id: str
    name: str
    kind: str
    about: str
    repository: str
    licence: Mapping[str, str]
    family: str = ""
    revision: str = "main"
    files: tuple[File, ...] = ()
    folder: str = ""
    patterns: tuple[str, ...] = ()
    part: str = ""
    size: int = 0
    needs: tuple[tuple[str, ...], ...] = ()
    alike: tuple[str, ...] = ()
    variant: str = ""
    gated: bool = False
    rank: int = 0
    memory: Memory | None = None

    @property
    def bytes(self) -> int:
        """The bytes of its own files, roughly where a file's size is not known exactly."""
        return sum(file.about for file in self.files) or self.size

    @property
    def page(self) -> str:
        """The page of its repository, where a gated model's licence is accepted."""
        return f"https://huggingface.co/{self.repository}"


def catalogue() -> dict[str, Published]:
    """All entries by id: the pack's, then the owner's. A fault in the owner's file is logged, once."""
    owners = Path(folder_paths.get_user_directory()) / "atelier" / "models.json"
    changed = 0
    try:
        changed = owners.stat().st_mtime_ns if owners.is_file() else 0
        return read(OWN) | (read(owners, changed) if changed else {})
    except (CatalogueError, OSError) as error:
        if changed not in _reported:
            _reported.add(changed)
            logging.error("Atelier: user/atelier/%s Until it is mended, its entries are left out.", error)
        return read(OWN)


_reported: set[int] = set()
"""Versions of the owner's file whose fault is in the log."""


def models() -> list[Published]:
    """The entries that are models, best to start with first."""
    return [entry for entry in catalogue().values() if entry.kind == MODEL]


def find(name: str) -> Published | None:
    """The entry with this id, name, or file name; None if there is none."""
    wanted = file_name(name)
    for entry in catalogue().values():
        if name in (entry.id, entry.name) or wanted in [file.name for file in entry.files]:
            return entry
    return None


@lru_cache(maxsize=8)
def read(file: Path, changed: int = 0) -> dict[str, Published]:
    """The entries of a catalogue by id. changed: when the file was, so that it is read again. Raises CatalogueError."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["models"]
        found = [_entry(entry) for entry in entries]
    except CatalogueError as error:
        raise CatalogueError(f"{file.name}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"{file.name} is not a catalogue ({type(error).__name__}: {error}).") from error
    return {entry.id: entry for entry in found}


def _entry(given: Mapping[str, Any]) -> Published:
    """An entry from JSON. Raises CatalogueError for what the form does not allow."""
    name = str(given.get("id", "an entry without id"))[:80]
    unknown = set(given) - {each.name for each in fields(Published)}
    _demand(not unknown, name, f"unknown keys {sorted(unknown)}")
    files = tuple(_file(name, one) for one in given.get("files", ()))
    entry = Published(
        **{
            **given,
            "files": files,
            "patterns": tuple(given.get("patterns", ())),
            "needs": tuple(map(tuple, given.get("needs", ()))),
            "alike": tuple(given.get("alike", ())),
            "memory": Memory(**given["memory"]) if given.get("memory") else None,
        }
    )
    _demand(_ID.fullmatch(entry.id), name, "its id has characters other than a-z, 0-9, '.' and '-'")
    _demand(entry.kind in (MODEL, *PARTS), name, f"its kind is none of {(MODEL, *PARTS)}")
    _demand(_REPOSITORY.fullmatch(entry.repository), name, "its repository is not OWNER/NAME")
    _demand(_REVISION.fullmatch(entry.revision), name, "its revision is neither 'main' nor a commit")
    _demand(set(entry.licence) == {"name", "url"}, name, "its licence needs a name and a url")
    _demand(entry.licence["url"].startswith("https://"), name, "its licence's url is not https")
    _demand(bool(entry.files) != bool(entry.folder), name, "it needs either files or a folder")
    if entry.folder:
        _check_folder(entry)
    return entry


def _check_folder(entry: Published) -> None:
    kind, _, name = entry.folder.partition("/")
    good = kind == "diffusers" and "/" not in name and "*" not in name and _PATH.fullmatch(name)
    _demand(good, entry.id, "its folder is not 'diffusers/NAME'")
    _demand(entry.patterns, entry.id, "its folder has no patterns")
    for path in (*entry.patterns, *([entry.part] if entry.part else [])):
        _demand(_PATH.fullmatch(path), entry.id, f"'{path[:80]}' is not a plain relative path")
    for path in entry.patterns:
        _demand(path.endswith(SUFFIXES), entry.id, f"'{path[:80]}' is none of {', '.join(SUFFIXES)}")


def _file(entry: str, given: Mapping[str, Any]) -> File:
    file = File(**given)
    _demand(is_plain(file.path), entry, f"'{file.path[:80]}' is not a plain relative path of {', '.join(SUFFIXES)}")
    _demand(file.folder in FOLDERS, entry, f"'{file.folder}' is none of {FOLDERS}")
    _demand(file.sha256 is None or _SHA256.fullmatch(file.sha256), entry, "a sha256 is not 64 hexadecimal digits")
    for size in (file.bytes, file.size):
        _demand(size is None or (type(size) is int and 0 < size < MOST_BYTES), entry, f"{size} is not a size in bytes")
    return file


def is_plain(path: str) -> bool:
    """Whether a path stays inside its folder and is of a kind that may be fetched."""
    return bool(_PATH.fullmatch(path)) and "*" not in path and path.endswith(SUFFIXES)


def _demand(met: Any, entry: str, fault: str) -> None:
    if not met:
        raise CatalogueError(f"{entry}: {fault}.")


@dataclass(frozen=True)
class Here:
    """What is in ComfyUI's folders at one moment: Load Video Model's list, and the file names by kind of folder.

    ComfyUI asks for the list several times for each graph, so it is made in less than a millisecond.
    """

    choices: list[str] = field(default_factory=model_choices)
    names: dict[str, list[str]] = field(default_factory=lambda: {kind: _names(kind) for kind in FOLDERS})
    known: dict[str, Published] = field(default_factory=lambda: catalogue())
    _missing: dict[tuple[tuple[str, ...], ...], list[Published]] = field(default_factory=dict)

    @cached_property
    def _by_file(self) -> dict[str, str]:
        """The choices by their last part, the first of each."""
        return {file_name(choice): choice for choice in reversed(self.choices)}

    @cached_property
    def _served(self) -> dict[str, list[str]]:
        """The file names that may serve as another, in small letters. umT5 has T5's names, and other words."""
        lowered = {kind: [name.lower() for name in names] for kind, names in self.names.items()}
        return {kind: [name for name in names if "umt5" not in name] for kind, names in lowered.items()}

    def choice(self, entry: Published) -> str | None:
        """The name of a model in Load Video Model's list; None if its files are not all here."""
        if entry.folder:
            wanted = f"{entry.folder}/{entry.part}" if entry.part else entry.folder
            return wanted if wanted in self.choices else None
        return self._by_file.get(entry.files[0].name)

    def has(self, entry: Published) -> bool:
        """Whether an entry's own files are here."""
        if entry.kind == MODEL:
            return self.choice(entry) is not None
        return all(file.name in self.names[file.folder] for file in entry.files)

    def missing_parts(self, entry: Published) -> list[Published]:
        """The needed parts of which nothing that serves is here: of each the one to fetch."""
        if entry.needs not in self._missing:  # which many models share
            needs = [[self.known[name] for name in names if name in self.known] for names in entry.needs]
            absent = [options[0] for options in needs if options and not any(map(self._serves, options))]
            self._missing[entry.needs] = absent
        return self._missing[entry.needs]

    def _serves(self, part: Published) -> bool:
        """Whether a part, or a file that serves as it, is here."""
        words = (part.files[0].name, *part.alike)
        return any(word in name for name in self._served[part.files[0].folder] for word in words)

    def missing(self, entry: Published) -> list[Published]:
        """What has to be fetched before the entry can be used: itself and its parts, as far as they are not here."""
        return [*([] if self.has(entry) else [entry]), *self.missing_parts(entry)]

    def offers(self) -> list[str]:
        """What Load Video Model lists below what is here: "NAME, fetch 6.3 GB" for each model that is not."""
        absent = [entry for entry in self.known.values() if entry.kind == MODEL and not self.has(entry)]
        sizes = [sum(part.bytes for part in (entry, *self.missing_parts(entry))) for entry in absent]
        return [f"{entry.name}{FETCH}{gigabytes(size)}" for entry, size in zip(absent, sizes, strict=True)]


FETCH = ", fetch "


def offered(choice: str) -> Published | None:
    """The model that an entry of `offers` names, whatever its size was then; None for another choice."""
    name, separator, _ = choice.rpartition(FETCH)
    return next((entry for entry in models() if entry.name == name), None) if separator else None


def _names(kind: str) -> list[str]:
    """The names of the files of a kind, without their subfolders. A network's file may be in either single folder."""
    kinds = SINGLE if kind in SINGLE else (kind,) if kind in folder_paths.folder_names_and_paths else ()
    return [file_name(name) for each in kinds for name in _listed(each)]


def _listed(kind: str) -> list[str]:
    """ComfyUI's list of a kind; GGUF files, which it does not list, are looked for where they may lie."""
    return listed(kind) if kind in (*SINGLE, "text_encoders") else comfyui_lists(kind)


def gigabytes(count: float) -> str:
    """A size for people: "6.3 GB", "250 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 0.95e9 else f"{max(1, round(count / 1e6))} MB"


# Where files go


def target_folder(kind: str) -> Path:
    """The folder that ComfyUI, or its extra_model_paths.yaml, names first for a kind of model."""
    return Path(folder_paths.get_folder_paths(kind)[0])


def own_paths(entry: Published) -> list[Path]:
    """The files of an entry that are here, wherever ComfyUI's folders have them; of a folder entry its part, or it."""
    if entry.folder:
        kind, name = entry.folder.split("/")
        places = [Path(root) / name / entry.part for root in folder_paths.get_folder_paths(kind)]
        return [place for place in places if place.is_dir()]
    found = []
    for file in entry.files:
        for kind in SINGLE if file.folder in SINGLE else (file.folder,):
            names = [name for name in _listed(kind) if file_name(name) == file.name]
            found += [Path(path) for name in names if (path := folder_paths.get_full_path(kind, name))]
    return found
