"""Identify the model at a path: its parts, its family, and its variant, adjusted by the folder's recipe.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..contract.colours import Colours
from ..contract.family import Family, Text, Variant
from ..contract.vocabulary import Vocabulary
from ..families.registry import families
from ..weights.checkpoint import Checkpoint, open_checkpoint
from ..weights.errors import CheckpointError

MOST = 100_000
"""The largest number that a recipe may have: pixels per side, frames, steps."""


@dataclass(frozen=True)
class OpenedModel:
    """A model on disk, opened and identified, from which its parts can be loaded. No weights are read yet."""

    checkpoint: Checkpoint
    family: Family
    variant: Variant

    @property
    def path(self) -> Path:
        return self.checkpoint.path


def open_model(path: Path) -> OpenedModel:
    """The model at a path, from the headers of its files. Raises CheckpointError if no family recognises it."""
    checkpoint = open_checkpoint(path)
    return OpenedModel(checkpoint, *identify(checkpoint))


def identify(checkpoint: Checkpoint) -> tuple[Family, Variant]:
    """The family and variant of a checkpoint. Raises CheckpointError if no family recognises it."""
    for family in families():
        try:
            variant = _recognised(family, checkpoint)
        except KeyError as missing:
            raise CheckpointError(
                f"{checkpoint.path.name} looks like {family.name}, but has no {missing}: it is incomplete. Download it "
                "again."
            ) from missing
        except CheckpointError:
            raise
        except (AttributeError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(
                f"{checkpoint.path.name} has an invalid config.json ({type(error).__name__}: {error}). "
                "Download it again."
            ) from error
        if variant is not None:
            return family, _with_recipe(variant, checkpoint.recipe)
    known = ", ".join(family.name for family in families())
    kind = checkpoint.network.config.get("_class_name") or "its first tensors are " + ", ".join(
        list(checkpoint.network.shapes)[:3]
    )
    raise CheckpointError(
        f"{checkpoint.path.name} is not a model of a family this pack knows ({known}): {kind}. Load image models "
        "with ComfyUI's own Load Checkpoint."
    )


def _recognised(family: Family, checkpoint: Checkpoint) -> Variant | None:
    """The variant. A scheduler_config.json of another family is ignored, and a note says so."""
    variant = family.recognise(checkpoint)
    config = checkpoint.scheduler
    foreign = {name: config[name] for name, own in family.own_scheduler.items() if config.get(name, own[0]) not in own}
    if variant is None or not foreign:
        return variant
    entries = ", ".join(f"{name} {str(value)[:40]}" for name, value in foreign.items())
    note = f"its scheduler_config.json is another model's ({entries}): the published schedule is used"
    variant = family.recognise(replace(checkpoint, scheduler={}))
    return replace(variant, notes=(*variant.notes, note))


def _with_recipe(variant: Variant, recipe: dict[str, Any]) -> Variant:
    """The variant with the settings of its folder's recipe.json, if there is one. Raises CheckpointError."""
    own = {
        name: _recipe_entry(name, value, variant) for name, value in recipe.items() if name in variant.recipe.__dict__
    }
    colours = recipe.get("preview")
    try:
        return replace(
            variant,
            name=str(recipe.get("name", variant.name)),
            recipe=replace(variant.recipe, **own),
            colours=Colours(**colours) if colours else variant.colours,
            vocabulary=Vocabulary.of(recipe),
            text=_text_of(variant.text, recipe.get("text", {})),
            network={**variant.network, **recipe.get("network", {})},
            scheduler={**variant.scheduler, **recipe.get("scheduler", {})},
            guidance=None if "guidance" in recipe else variant.guidance,
            frame_rates=_frame_rates(recipe["frame_rates"]) if "frame_rates" in recipe else variant.frame_rates,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"The recipe.json of {variant.name} cannot be used: {error}.") from error


def _frame_rates(ranges: Any) -> tuple[tuple[float, float], ...]:
    """The ranges of trained frame rates in recipe.json. Raises TypeError if they are not pairs of numbers."""
    pairs = tuple((float(least), float(most)) for least, most in ranges)
    if any(least > most for least, most in pairs):
        raise TypeError(f"a range of frame_rates begins above its end: {ranges}")
    return pairs


def _text_of(text: Text, own: dict[str, Any]) -> Text:
    """The text settings with the entries of recipe.json. Raises CheckpointError."""
    for name, value in own.items():
        if type(value) is not type(getattr(text, name)) or name == "tokens" and not 0 < value <= MOST:
            raise CheckpointError(f"The recipe.json cannot be used: its text has {name} {value!r}.")
    return replace(text, **own)


def _recipe_entry(name: str, value: Any, variant: Variant) -> Any:
    """One entry of a recipe, checked against the type of the family's own. Raises CheckpointError."""
    usual = getattr(variant.recipe, name)
    if isinstance(usual, str):
        fits, expected = isinstance(value, str), "words"
    else:
        least = 0 if name == "guidance" else 1e-3
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        whole = isinstance(usual, float) or isinstance(value, int)
        fits, expected = number and whole and least <= value <= MOST, f"a number from {least:g} to {MOST:g}"
    if not fits:
        raise CheckpointError(
            f"The recipe.json of {variant.name} has '{name}': {str(value)[:40]}; expected {expected}."
        )
    return value
