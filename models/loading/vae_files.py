"""Find a model's VAE: the chosen file, else its own, else the file in models/vae whose version fits best."""

from __future__ import annotations

import logging
from pathlib import Path

from ..weights.checkpoint import Component, open_component
from ..weights.errors import CheckpointError
from .identify import OpenedModel


def own_vae(model: OpenedModel, chosen: Path | None) -> Component | None:
    """The chosen VAE, else the model's own, else None.

    Raises CheckpointError if the model was trained on the latents of another version of the autoencoder.
    """
    component = open_component(chosen, "VAE", ("vae.", "")) if chosen else model.checkpoint.vae
    if component is None:
        return None
    version, fitting = _version(model, component), model.variant.autoencoders
    if version and fitting and version not in fitting:
        subject = f"{chosen.name} is" if chosen else f"{model.path.name} has"
        raise CheckpointError(
            f"{subject} the VAE of {model.family.name} {version}, but {model.variant.name} was trained on latents of "
            f"{' or '.join(fitting)}: its clips would be noise. Choose that VAE for 'vae'."
        )
    return component


def vaes_among(model: OpenedModel, available: list[Path]) -> list[Component]:
    """The files that may be the model's VAE, best first: in the order of the versions that it was trained with."""
    ranked, fitting = [], model.variant.autoencoders
    for path in available:
        try:
            component = open_component(path, "VAE", ("vae.", ""))
        except CheckpointError as error:  # models/vae also has files of other models
            logging.info("Atelier: skipped %s: %s", path.name, error)
            continue
        version = _version(model, component)
        if not fitting or version in fitting:
            ranked.append((fitting.index(version) if fitting else 0, component))
        elif version:
            logging.info("Atelier: skipped %s: it is the VAE of %s %s", path.name, model.family.name, version)
    return [component for _, component in sorted(ranked, key=lambda entry: entry[0])]


def _version(model: OpenedModel, component: Component) -> str:
    return model.family.autoencoder_version(component) if model.family.autoencoder_version else ""
