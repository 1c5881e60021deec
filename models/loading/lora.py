"""Translate a LoRA file of any trainer to the weight names of one network.

This file undoes the trainer's naming of modules. Names, fused matrices and row order of a family's original layout are
found with the family's own `network_state`: it converts a state dict in which each row of each module is a unique
number, and the result shows where each row goes.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..bridge.adapters import lora_patches, weight_shapes, with_lora
from ..bridge.video_model import IN_CONTEXT, LORA_METADATA, video_model
from ..contract.family import Family, Variant
from ..contract.grid import Shape, State
from ..families.registry import families
from ..weights.checkpoint import read
from ..weights.errors import CheckpointError
from .lora_alphas import noted_beside, read_alphas
from .lora_names import dotted_like, dotted_names, part_of, pattern_of, underscored_names, with_dots

# The parts of an adapter that have a row for each output of the layer. They can be split like a fused layer.
ROWS = {"lora_up.weight", "dora_scale", "diff", "diff_b", "w_norm", "b_norm", "set_weight"}

Modules = dict[str, State]


@dataclass(frozen=True)
class Applied:
    """A MODEL with a LoRA applied.

    changed: the number of weights that it changes. unused: names in the file without a matching weight. blocks: how
    many of the network's blocks it changes, and how many there are. needs: the input that it was trained to follow
    besides the prompt, or "".
    """

    model: Any
    changed: int
    unused: tuple[str, ...]
    blocks: tuple[int, int]
    needs: str = ""


def add_lora(model: Any, path: Path, strength: float) -> Applied:
    """Apply the LoRA of a safetensors file to a clone of the MODEL, as ComfyUI patches.

    Raises CheckpointError if the file is not a LoRA, is damaged, or is for another model.
    """
    state, metadata = read(path)
    modules, unused = modules_of(state, noted_beside(path) | metadata, path.name)
    shapes = weight_shapes(model)
    placed, fitting = _placed(video_model(model), shapes, modules, path.name)
    patched, left = with_lora(model, {name: module.parts for name, module in fitting.items()}, strength)
    if scale := reference_scale(path.name, metadata):
        patched.set_attachments(IN_CONTEXT, scale)
    patched.set_attachments(LORA_METADATA, metadata)
    changed = fitting.keys() - left
    unused = {*unused, *modules} - {fitting[name].source for name in changed}
    blocks = len(_blocks(changed)), len(_blocks(shapes))
    return Applied(patched, len(changed), tuple(sorted(unused)), blocks, _needs(path.name, metadata, placed, shapes))


def lora_of_any_trainer(model: Any, state: State) -> tuple[dict[str, Any], str]:
    """The patches of a LoRA's tensors that ComfyUI's own loaders have no place for, and why some have none here, or "".

    Such a loader reads no metadata: a scale that a trainer noted there is not applied.
    """
    shapes, name = weight_shapes(model), "The file"
    try:
        modules, unused = modules_of(state, {}, name)
        _, fitting = _placed(video_model(model), shapes, modules, name)
    except CheckpointError as error:
        return {}, str(error)
    patches, left = lora_patches(model.model.diffusion_model, {name: module.parts for name, module in fitting.items()})
    unused = sorted({*unused, *modules} - {module.source for name, module in fitting.items() if name not in left})
    return patches, f"these parts have no place in the model: {', '.join(unused)}" if unused else ""


def _placed(
    inner: Any, shapes: dict[str, Shape], modules: Modules, name: str
) -> tuple[dict[str, Placed], dict[str, Placed]]:
    """The network's weights -> their adapters, and those of them that have the weight's size.

    Raises CheckpointError, with the file's name, if no adapter fits.
    """
    placed = translated(inner.family, shapes, modules)
    fitting = {name: module for name, module in placed.items() if _fits(module.parts, shapes[name])}
    if not fitting:
        raise CheckpointError(_misfit(name, inner, shapes, modules, placed))
    return placed, fitting


SCALE = "reference_downscale_factor"
"""Lightricks' metadata entry of an IC-LoRA."""
_IN_CONTEXT = re.compile(r"(?<![a-z])ic[-_ ]?lora", re.IGNORECASE)


def _needs(file: str, metadata: dict[str, str], placed: dict[str, Placed], shapes: dict[str, Shape]) -> str:
    """The input that a LoRA was trained to follow besides the prompt, or "".

    A control LoRA changes a layer with more inputs than this network's: the extra channels of a control clip. An
    IC-LoRA's weights look like any LoRA's. It is recognised by its file name, or by Lightricks' metadata entry with the
    scale of its reference.
    """
    for name, module in placed.items():
        down = module.parts.get("lora_down.weight")
        inputs, own = 0 if down is None else down[0].numel(), math.prod(shapes[name][1:])
        if inputs > own and inputs % own == 0:
            return (
                f"a control LoRA: its {module.source} reads {inputs // own} times as many channels as this model "
                "has. It needs a control clip beside the noise, which is not given here: it does little. A Fun "
                "Control model takes one"
            )
    if reference_scale(file, metadata):
        return (
            "an IC-LoRA: it follows a reference clip beside the shot (depth, pose, edges). Connect one with Control "
            "Video, and this MODEL to its 'model'"
        )
    return ""


def reference_scale(file: str, metadata: dict[str, str]) -> int:
    """How many times smaller than the shot the reference clip of an IC-LoRA is; 0 for other LoRAs."""
    given = metadata.get(SCALE)
    try:
        return max(1, round(float(given))) if given else int(bool(_IN_CONTEXT.search(file)))
    except (ValueError, OverflowError):
        return 1


def _blocks(names: Iterable[str]) -> set[str]:
    return {match[0] for name in names if (match := re.match(r"\w+\.\d+\.", name))}


# ------------------------------------------------------------------------------------------------ reading


def modules_of(state: State, metadata: dict[str, str], file: str) -> tuple[Modules, list[str]]:
    """A LoRA's tensors by module, under ComfyUI's names of their parts, and the keys that do not belong to a LoRA.

    file: its name, for errors. Raises CheckpointError if the file has no LoRA, or one with halves that do not match.
    """
    if any("lora_magnitude_vector" in key for key in state):
        raise CheckpointError(
            f"{file} is a DoRA of PEFT, which is not supported: ComfyUI computes a DoRA's norms differently, so the "
            "result would differ from training. Use a LoRA, or a DoRA that a LyCORIS trainer saved."
        )
    modules: Modules = {}
    others = []
    for key, tensor in _joined(state).items():
        names = part_of(key)
        if names is None:
            others.append(key)
            continue
        module, part = names
        modules.setdefault(module, {})[part] = tensor
    if not modules:
        raise CheckpointError(
            f"{file} is not a LoRA: none of its {len(state)} tensors is a part of one, for example "
            f"{', '.join(list(state)[:3])}. Expected: pairs like '....lora_A.weight' and '....lora_B.weight'. Whole "
            "models load with Load Video Model."
        )
    alphas = read_alphas(metadata, file)
    for name, parts in modules.items():
        _check(name, parts, file)
        alpha = alphas.of_module(dotted_names(name)) if "lora_down.weight" in parts else None
        if alpha is not None:
            # ComfyUI divides by the rank; rank-stabilised adapters were trained with division by its square root.
            scale = math.sqrt(len(parts["lora_down.weight"])) if alphas.by_root else 1.0
            parts.setdefault("alpha", torch.tensor(alpha * scale))
    return modules, others


def _joined(state: State) -> State:
    """Join SAT's separate adapters for queries, keys and values (`matrix_A.0`, ...) to one adapter of the fused matrix.

    SAT's alpha is 1; its files do not contain it.
    """
    pattern, out, separate = r"\.matrix_([AB])\.\d+$", {}, {}
    for key in sorted(state):
        if match := re.search(pattern, key):
            separate.setdefault(key[: match.start()], {"A": [], "B": []})[match[1]].append(state[key])
        else:
            out[key] = state[key]
    for name, halves in separate.items():
        out[f"{name}.alpha"] = torch.tensor(float(len(halves["A"])))
        if halves["A"]:
            out[f"{name}.lora_down.weight"] = torch.cat(halves["A"])
        if halves["B"]:
            out[f"{name}.lora_up.weight"] = torch.block_diag(*halves["B"])
    return out


def _check(name: str, parts: State, file: str) -> None:
    up, down = parts.get("lora_up.weight"), parts.get("lora_down.weight")
    if (up is None) != (down is None):
        missing = "lora_up (lora_B)" if up is None else "lora_down (lora_A)"
        raise CheckpointError(f"{file} is damaged or incomplete: {name} has no {missing}. Download it again.")
    if up is not None and (up.ndim < 2 or down.ndim < 2 or up.shape[1] != down.shape[0]):
        raise CheckpointError(
            f"{file} is damaged: at {name}, lora_up {list(up.shape)} and lora_down {list(down.shape)} have no rank in "
            "common. Download it again."
        )


# ------------------------------------------------------------------------------------------------ naming


@dataclass(frozen=True)
class Placed:
    """The adapter of one weight: its parts, and the module of the file that they come from."""

    source: str
    parts: State


def translated(family: Family, shapes: dict[str, Shape], modules: Modules) -> dict[str, Placed]:
    """Names of a network's weights -> their adapters. shapes: the network's weights; modules: from `modules_of`.

    Modules without a matching weight are left out. If the original layout fuses several of the network's matrices into
    one, each of them gets its rows of the adapter.
    """
    own = {key.replace(".", "_"): key for key in shapes} | {key: key for key in shapes}
    placed, others = {}, {}
    for source, parts in modules.items():
        names = [f"{name}{end}" for name in dotted_names(source) for end in (".weight", "")]
        names += [f"{name}_weight" for name in underscored_names(source)]
        key = next((own[name] for name in names if name in own), None)
        if key is not None:
            placed[key] = Placed(source, parts)
        elif _outputs(parts):
            others[source] = _outputs(parts)
    for source, key, rows in _by_layout(family, shapes, others):
        parts = modules[source]
        if len(rows) == others[source] and torch.equal(rows, torch.arange(len(rows))):
            placed[key] = Placed(source, parts)
        elif _splittable(parts, others[source]):
            split = {part: tensor[rows] if part in ROWS else tensor for part, tensor in parts.items()}
            placed[key] = Placed(source, split)
    return placed


def _by_layout(
    family: Family, shapes: dict[str, Shape], outputs: dict[str, int]
) -> Iterator[tuple[str, str, torch.Tensor]]:
    """(module, weight of the network, the module's rows for that weight), according to the family's original layouts.

    outputs: module -> its number of rows.
    """
    candidates = {name: source for source in outputs for name in dotted_names(source)}
    alike: dict[str, list[tuple[str, str]]] = {}  # pattern -> (module without its prefix, module)
    for source in outputs:
        for name in underscored_names(source):
            alike.setdefault(pattern_of(name), []).append((name, source))
    # A trainer's underscores have the same meaning in every block, so one block stands for all.
    readings = ((name, pattern) for pattern, [(sample, _), *_] in alike.items() for name in with_dots(sample))
    dotted = dict(itertools.islice(readings, MAX_SAMPLES))
    for name, _, _ in _by_network_state(family, shapes, dict.fromkeys(dotted, SAMPLE_ROWS)):
        for plain, source in alike[dotted[name]]:
            candidates[dotted_like(plain, name)] = source
    for name, key, rows in _by_network_state(
        family, shapes, {name: outputs[source] for name, source in candidates.items()}
    ):
        yield candidates[name], key, rows


SAMPLE_ROWS = 12  # the most parts into which a layout splits one matrix
MAX_SAMPLES = 200_000
"""The most dotted readings of one file's underscored names to try; a LoRA of every layer has some thousands."""


def _by_network_state(
    family: Family, shapes: dict[str, Shape], modules: dict[str, int]
) -> Iterator[tuple[str, str, torch.Tensor]]:
    """(module, weight of the network, rows of the module), as `network_state` converts them. modules: name -> rows.

    The state dict also has the network's own weights, because some layouts are recognised only by the whole of it.
    """
    state: State = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    names, starts, start = list(modules), [], 0
    for name in names:
        starts.append(start)
        state[f"{name}.weight"] = torch.arange(start, start + modules[name])
        start += modules[name]
    try:
        converted = family.network_state(state)
    except (ValueError, RuntimeError):
        return  # a module whose rows cannot be split as the layout does is not a layer of this family
    for key, rows in converted.items():
        if key in shapes and rows.device.type == "cpu" and rows.dtype == torch.int64 and rows.numel():
            which = bisect.bisect_right(starts, int(rows[0])) - 1
            yield names[which], key, rows - starts[which]


def _splittable(parts: State, outputs: int) -> bool:
    """Whether an adapter with this number of outputs can be split by rows."""
    by_row = [tensor for part, tensor in parts.items() if part in ROWS]
    return parts.keys() <= ROWS | {"lora_down.weight", "alpha"} and all(t.shape[:1] == (outputs,) for t in by_row)


def _outputs(parts: State) -> int:
    """The number of outputs of an adapter's layer; 0 for kinds of adapters that do not show it."""
    tensor = next((parts[part] for part in ("lora_up.weight", "diff", "w_norm", "set_weight") if part in parts), None)
    return 0 if tensor is None or tensor.ndim == 0 else len(tensor)


# ------------------------------------------------------------------------------------------------ fitting


def _fits(parts: State, shape: Shape) -> bool:
    """Whether an adapter has the size of a weight. Kinds that do not show their size are left to ComfyUI's check."""
    if "lora_up.weight" in parts:
        return (len(parts["lora_up.weight"]), parts["lora_down.weight"][0].numel()) == (shape[0], math.prod(shape[1:]))
    whole = [parts[part] for part in ("diff", "w_norm", "set_weight") if part in parts]
    return all(tuple(tensor.shape) == tuple(shape) for tensor in whole)


def _misfit(file: str, inner: Any, shapes: dict[str, Shape], modules: Modules, placed: dict[str, Placed]) -> str:
    """The message why no part of a LoRA fits a model, and for which model it seems to be."""
    others = " or ".join(
        _likely_families(inner.variant, modules, [f for f in families() if f.name != inner.family.name])
    )
    if not placed:
        origin = f"Its names are those of a LoRA for {others}." if others else "Its names fit no supported family."
        return (
            f"{file} changes nothing in {inner.variant.name}, which has none of its {len(modules)} modules (first: "
            f"{next(iter(modules))}). {origin} Load it on the model that it was trained for."
        )
    key, module = next(iter(placed.items()))
    parts = module.parts
    size = [len(parts["lora_up.weight"]), parts["lora_down.weight"][0].numel()] if "lora_up.weight" in parts else "?"
    origin = f"another size of {inner.family.name}" + (f" or for {others}" if others else "")
    return (
        f"{file} does not fit {inner.variant.name}: its {module.source} is for a matrix of {size}, here it has "
        f"{list(shapes[key])}. It was trained for {origin}. Load it on that model."
    )


def _likely_families(variant: Variant, modules: Modules, among: Iterable[Family]) -> list[str]:
    """The families in whose published network most (80 %) of a LoRA's modules have a place."""
    names = []
    for family in among:
        try:
            published = family.network(replace(variant, network={})).state_dict()
        except CheckpointError:  # it needs a newer diffusers
            continue
        known = translated(family, {key: tuple(weight.shape) for key, weight in published.items()}, modules)
        if len({module.source for module in known.values()}) > 0.8 * len(modules):
            names.append(family.name)
    return names
