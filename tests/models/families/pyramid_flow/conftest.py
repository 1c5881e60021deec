"""The recorded runs in goldens/, and the tiny networks that they were recorded with (goldens/README.md)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from atelier.models.families.pyramid_flow.transformer import PyramidDiffusionMMDiT, PyramidFluxTransformer
from safetensors.torch import load_file

GOLDENS = Path(__file__).parent / "goldens"
NETWORKS = {"flux": PyramidFluxTransformer, "sd3": PyramidDiffusionMMDiT}


@dataclass(frozen=True)
class Golden:
    """One recording: its tensors by name, and the facts about it (configuration, cases, settings)."""

    tensors: dict[str, torch.Tensor]
    facts: dict

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def recorded(name: str) -> Golden:
    return Golden(load_file(GOLDENS / f"{name}.safetensors"), json.loads((GOLDENS / f"{name}.json").read_text()))


def with_ruled_weights(module: torch.nn.Module, salt: str) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("weights_rule", GOLDENS / "weights_rule.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return rule.apply_rule(module, salt).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    return recorded


@pytest.fixture(scope="session")
def network() -> Callable[[str], torch.nn.Module]:
    """``network("flux")`` or ``network("sd3")``: the tiny transformer of the recordings."""

    def build(variant: str) -> torch.nn.Module:
        facts = recorded(f"{variant}_dit_calls").facts
        return with_ruled_weights(NETWORKS[variant].from_config(facts["config"]), facts["weights"]["salt"])

    return build


@pytest.fixture(scope="session")
def vae() -> CausalVideoVAE:
    """The tiny autoencoder of the recordings."""
    facts = json.loads((GOLDENS / "vae.json").read_text())
    return with_ruled_weights(CausalVideoVAE.from_config(facts["config"]), facts["weights"]["salt"])


@pytest.fixture(scope="session")
def published_keys() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Key -> shape of a published checkpoint."""

    def read(name: str) -> dict[str, tuple[int, ...]]:
        keys = json.loads((GOLDENS / f"keys_{name}.json").read_text())["keys"]
        return {key: tuple(entry["shape"]) for key, entry in keys.items()}

    return read
