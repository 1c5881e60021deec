"""Which file is a model's VAE: the one chosen, its own, else the one in models/vae whose version fits best."""

from __future__ import annotations

import logging
from pathlib import Path

from ..weights.checkpoint import Component, open_component
from ..weights.errors import CheckpointError
from .identify import OpenedModel


def own_vae(model: OpenedModel, chosen: Path | None) -> Component | None:
    """The VAE that was chosen, else the model's own; None where neither is. Raises CheckpointError where its latents
    are not those that the model was trained on.
    """
    component = open_component(chosen, "VAE", ("vae.", "")) if chosen else model.checkpoint.vae
    if component is None:
        return None
    version, fitting = _version(model, component), model.variant.autoencoders
    if version and fitting and version not in fitting:
        where = f"{chosen.name} is" if chosen else f"{model.path.name} holds"
        raise CheckpointError(
            f"{where} the VAE of {model.family.name} {version}, but {model.variant.name} was trained on the latents of "
            f"{' or '.join(fitting)}: its clips would be noise. Choose that VAE for 'vae'."
        )
    return component


def vaes_among(model: OpenedModel, available: list[Path]) -> list[Component]:
    """What could be the model's VAE, best first: those of the version that it was trained with before others."""
    found, fitting = [], model.variant.autoencoders
    for path in available:
        try:
            component = open_component(path, "VAE", ("vae.", ""))
        except CheckpointError as error:  # another's file in models/vae is no error while we look for ours
            logging.info("Atelier: passed over %s: %s", path.name, error)
            continue
        version = _version(model, component)
        if not fitting or version in fitting:
            found.append((fitting.index(version) if fitting else 0, component))
        elif version:
            logging.info("Atelier: passed over %s: it is the VAE of %s %s", path.name, model.family.name, version)
    return [component for _, component in sorted(found, key=lambda one: one[0])]


def _version(model: OpenedModel, component: Component) -> str:
    return model.family.autoencoder_version(component) if model.family.autoencoder_version else ""
