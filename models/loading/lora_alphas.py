"""The alphas that are noted beside a LoRA's tensors: `lora_alpha`, and `alpha_pattern` for modules with another.

The patterns are regular expressions of whoever made the file. Nearly all are plain names, which are looked up; the rest
goes to pydantic's engine (Rust's regex crate), which never backtracks: its time is pattern times name at most.
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
"""Characters of a pattern; patterns that are more than a name."""
DIFFUSERS, FINETRAINERS = "lora_adapter_metadata", "lora_config"
"""Where the metadata of a file has PEFT's settings as JSON."""
BESIDE = {"adapter_model.safetensors": "adapter_config.json"}
"""Where PEFT itself and diffusion-pipe put them: into a second file."""
_NAME = re.compile(r"\^?[\w.-]+")


@dataclass
class Alphas:
    """What a file notes. common: the alpha of modules without their own, None where none is noted.

    by_root: rank-stabilised, the adapter is divided by the root of its rank. names: the end of a module's name, or
    after "^" the whole of it, -> (place among the patterns, alpha). expressions: the others.
    """

    common: float | None = None
    by_root: bool = False
    names: dict[str, tuple[int, float]] = field(default_factory=dict)
    expressions: list[tuple[int, Callable[[str], bool], float]] = field(default_factory=list)

    def of_module(self, names: Iterable[str]) -> float | None:
        """The alpha of a module by all its names, with and without prefixes: the first pattern that fits says it."""
        if self.common is None:
            return None
        fitting = [(len(self.names) + len(self.expressions), self.common)]
        for name in names:
            ends = [name, f"^{name}"] + [name[match.end() :] for match in re.finditer(r"\.", name)]
            fitting += [self.names[end] for end in ends if end in self.names]
            fitting += [(place, alpha) for place, fits, alpha in self.expressions if fits(name)][:1]
        return min(fitting)[1]


def read_alphas(metadata: dict[str, str], file: str) -> Alphas:
    """The alphas in a file's metadata. Raises CheckpointError naming what cannot be used; file: its name, for that."""
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
    """What PEFT saved in a second file beside a LoRA, in the form that the metadata of a file has."""
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
    """Whether a module's name, or what of it follows a dot, is as PEFT's pattern says."""
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
        f"{file} cannot be used: {what}. It is part of the note that says how strongly the LoRA works. Expected: what "
        'diffusers writes, such as {"lora_alpha": 16, "alpha_pattern": {"attn1.to_q": 8}}. Save the LoRA again.'
    )
