"""Compares our clips with those of diffusers' pipelines, on tiny random networks of every family, variant and task.

The comparison is in tests/support/reference.py; this file turns it into figures.
"""

import sys
import tempfile
from pathlib import Path

import comfyui

from benchmarks.figure import Figure, short


def parity() -> list[Figure]:
    """The worst relative error of each family's variants and tasks, loaded from diffusers folders."""
    sys.path.insert(0, str(comfyui.ROOT / "tests" / "support"))
    import comfy.utils
    import reference
    from diffusers.utils import logging

    comfy.utils.PROGRESS_BAR_ENABLED = False
    logging.disable_progress_bar()

    errors: dict[type, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="atelier-parity-") as folder:
        for case in reference.cases(Path(folder)):
            for task in case.tasks:
                errors.setdefault(type(case), {})[f"{case.variant} {task}"] = case.errors("folder", task)
    return [
        _worst(of_family, which, f"parity, {kind.family}, {what}", getattr(kind, what))
        for kind, of_family in errors.items()
        for which, what in enumerate(("latents", "pixels"))
    ]


def _worst(errors: dict[str, tuple[float, float]], which: int, name: str, target: float) -> Figure:
    note = "the worst of " + ", ".join(f"{case} {short(both[which])}" for case, both in errors.items())
    return Figure(name, (max(both[which] for both in errors.values()),), target, note=note)
