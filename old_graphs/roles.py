"""The roles that the tables name, and the function that translates each."""

from __future__ import annotations

from . import loading, sampling, text
from .translation import Old, Results, Roles, Translation


def _read_by_others(work: Translation, old: Old) -> Results:
    """Settings give nothing of their own: the node that they are connected to reads them."""
    return {}


ROLES: Roles = {
    "load": loading.load,
    "vae": loading.vae,
    "text": text.text,
    "blend": text.blend,
    "sample": sampling.sample,
    "decode": sampling.decode,
    "frames": sampling.encode,
    "control": sampling.resize,
    "resize": sampling.resize,
    **dict.fromkeys(("lora", "schedule", "cache", "context", "compile"), _read_by_others),
}
