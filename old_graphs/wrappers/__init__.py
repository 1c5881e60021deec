"""The tables: what each node class of the three wrapper packs is here. Data only, one file per pack."""

from __future__ import annotations

from . import cogvideox, mochi, pyramid_flow
from .rules import Rule

PACKS = (cogvideox, mochi, pyramid_flow)
RULES: dict[str, Rule] = {name: rule for pack in PACKS for name, rule in pack.RULES.items()}
PACK_OF = {name: pack.PACK for pack in PACKS for name in pack.RULES}
MODEL_TYPES = {name for pack in PACKS for name in pack.MODEL_TYPES}
VAE_TYPES = {name for pack in PACKS for name in pack.VAE_TYPES}
