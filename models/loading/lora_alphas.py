"""The alphas in a LoRA's metadata: `lora_alpha`, and `alpha_pattern` for modules with a different one.

The patterns are regular expressions from a downloaded file. Nearly all are plain names, which are looked up. The others
run in pydantic's engine (Rust's regex crate), which never backtracks: its time is at most proportional to the length of
the pattern times that of the name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..weights.errors import CheckpointError

MAX_PATTERN, MAX_EXPRESSIONS = 500, 100
"""Limits: characters of a pattern, and patterns per file that are not plain names."""
DIFFUSERS, FINETRAINERS = "lora_adapter_metadata", "lora_config"
"""Metadata keys under which a file has PEFT's settings as JSON."""
BESIDE = {"adapter_model.safetensors": "adapter_config.json"}
"""PEFT itself and diffusion-pipe write the settings to a second file: LoRA file -> settings file."""
_NAME = re.compile(r"\^?[\w.-]+")


@dataclass
class Alphas:
    """The alphas in a file's metadata. common: the alpha of modules without their own; None if there is none.

    by_root: the adapter is rank-stabilised, that is divided by the square root of its rank. names: the end of a
    module's name, or "^" and the whole name, -> (position among the patterns, alpha). expressions: all other patterns.
    """

    common: float | None = None
    by_root: bool = False
    names: dict[str, tuple[int, float]] = field(default_factory=dict)
    expressions: list[tuple[int, Callable[[str], bool], float]] = field(default_factory=list)

    def of_module(self, names: Iterable[str]) -> float | None:
        """The alpha of a module, from the first pattern that fits one of its names (with and without prefixes)."""
        if self.common is None:
            return None
        fitting = [(len(self.names) + len(self.expressions), self.common)]
        for name in names:
            ends = [name, f"^{name}"] + [name[match.end() :] for match in re.finditer(r"\.", name)]
            fitting += [self.names[end] for end in ends if end in self.names]
            fitting += [(place, alpha) for place, fits, alpha in self.expressions if fits(name)][:1]
        return min(fitting)[1]


def read_alphas(metadata: dict[str, str], file: str) -> Alphas:
    """The alphas in a file's metadata. file: its name, for errors. Raises CheckpointError for invalid entries."""
    source = DIFFUSERS if DIFFUSERS in metadata else FINETRAINERS
    try:
        noted = json.loads(metadata.get(source, "{}"))
        noted = {key.removeprefix("transformer."): value for key, value in noted.items()}
    except (ValueError, RecursionError, AttributeError):
        raise _damaged(file, f"'{source}' is not a JSON object") from None
    if noted.get("lora_alpha") is None:
        return Alphas()
    alphas = Alphas(_number(noted["lora_alpha"], "lora_alpha", file), bool(noted.get("use_rslora")))
    patterns = noted.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise _damaged(file, "'alpha_pattern' is not a JSON object of patterns and numbers")
    for place, (pattern, value) in enumerate(patterns.items()):
        alpha = _number(value, f"alpha_pattern of '{pattern[:80]}'", file)
        plain = pattern.replace("\\.", ".")
        if _NAME.fullmatch(plain):
            alphas.names.setdefault(plain, (place, alpha))
        else:
            alphas.expressions.append((place, _expression(pattern, file), alpha))
        if len(alphas.expressions) > MAX_EXPRESSIONS:
            raise _damaged(file, f"'alpha_pattern' has more than {MAX_EXPRESSIONS} regular expressions")
    return alphas


def noted_beside(path: Path) -> dict[str, str]:
    """The settings that PEFT saved in a second file beside a LoRA, in the form of a file's metadata."""
    if path.name not in BESIDE or not path.with_name(BESIDE[path.name]).is_file():
        return {}
    return {DIFFUSERS: path.with_name(BESIDE[path.name]).read_text(encoding="utf-8", errors="replace")}


def _number(value: Any, name: str, file: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _damaged(file, f"its {name} is not a number")
    return number


def _expression(pattern: str, file: str) -> Callable[[str], bool]:
    """A function that tests whether a module's name, or its part after a dot, matches PEFT's pattern."""
    from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

    shown = f"its alpha_pattern '{pattern[:80]}'"
    if len(pattern) > MAX_PATTERN:
        raise _damaged(file, f"{shown} has {len(pattern):,} characters; up to {MAX_PATTERN} are read")
    try:
        checker = SchemaValidator(core_schema.str_schema(pattern=rf"^(?:.*\.)?(?:{pattern})$"))
    except SchemaError:
        raise _damaged(file, f"{shown} is not a regular expression that can be used") from None

    def fits(name: str) -> bool:
        try:
            checker.validate_python(name)
        except ValidationError:
            return False
        return True

    return fits


def _damaged(file: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{file} cannot be used: {what}. This part of its metadata sets the LoRA's strength. Expected: what "
        'diffusers writes, such as {"lora_alpha": 16, "alpha_pattern": {"attn1.to_q": 8}}. Save the LoRA again.'
    )
