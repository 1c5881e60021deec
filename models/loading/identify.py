"""Which model lies at a path: its parts, its family, and the variant with what its folder's recipe.json says."""

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
"""Of what a recipe may recommend: pixels of a side, frames, steps."""


@dataclass(frozen=True)
class OpenedModel:
    """A model on disk, opened and identified: what loading its parts needs. No weights are read yet."""

    checkpoint: Checkpoint
    family: Family
    variant: Variant

    @property
    def path(self) -> Path:
        return self.checkpoint.path


def open_model(path: Path) -> OpenedModel:
    """The model at a path, from the headers of its files. Raises CheckpointError when no family knows it."""
    checkpoint = open_checkpoint(path)
    return OpenedModel(checkpoint, *identify(checkpoint))


def identify(checkpoint: Checkpoint) -> tuple[Family, Variant]:
    """The family and variant of a checkpoint. Raises CheckpointError when no family knows it."""
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
                f"{checkpoint.path.name} has a config.json that cannot be true ({type(error).__name__}: {error}). "
                "Download it again."
            ) from error
        if variant is not None:
            return family, _with_recipe(variant, checkpoint.recipe)
    known = ", ".join(family.name for family in families())
    kind = checkpoint.network.config.get("_class_name") or "its first tensors are " + ", ".join(
        list(checkpoint.network.shapes)[:3]
    )
    raise CheckpointError(
        f"{checkpoint.path.name} is no model of a family this pack knows ({known}): {kind}. Image models load with "
        "ComfyUI's own Load Checkpoint."
    )


def _recognised(family: Family, checkpoint: Checkpoint) -> Variant | None:
    """The variant, without the scheduler_config.json beside it where that is another model's, which is said."""
    variant = family.recognise(checkpoint)
    config = checkpoint.scheduler
    foreign = {name: config[name] for name, own in family.own_scheduler.items() if config.get(name, own[0]) not in own}
    if variant is None or not foreign:
        return variant
    found = ", ".join(f"{name} {str(value)[:40]}" for name, value in foreign.items())
    note = f"its scheduler_config.json is another model's\n({found}):\nthe published schedule is taken"
    variant = family.recognise(replace(checkpoint, scheduler={}))
    return replace(variant, notes=(*variant.notes, note))


def _with_recipe(variant: Variant, recipe: dict[str, Any]) -> Variant:
    """The variant as its folder's recipe.json has it, where there is one. Raises CheckpointError."""
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
            text=_trained(variant.text, recipe.get("text", {})),
            network={**variant.network, **recipe.get("network", {})},
            scheduler={**variant.scheduler, **recipe.get("scheduler", {})},
            guidance=None if "guidance" in recipe else variant.guidance,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The recipe.json of {variant.name} cannot be used: {error}.") from error


def _trained(text: Text, own: dict[str, Any]) -> Text:
    """How the prompt is read, as recipe.json has it. Raises CheckpointError."""
    for name, value in own.items():
        if type(value) is not type(getattr(text, name)) or name == "tokens" and not 0 < value <= MOST:
            raise CheckpointError(f"The recipe.json cannot be used: its text says {name} {value!r}.")
    return replace(text, **own)


def _recipe_entry(name: str, value: Any, variant: Variant) -> Any:
    """One of a recipe's entries, of the kind that the family's own has. Raises CheckpointError."""
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
