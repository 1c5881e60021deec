"""Trainers' names in a LoRA file: the halves of an adapter, and the module that it changes.

A key is PREFIX + module + part, such as `transformer.` + `transformer_blocks.0.attn1.to_q` + `.lora_A.weight`. Module
names of a family's original layout are not listed here: `lora.py` gets them from the family.

============================ ======================================== =================================
trainer                      prefix and module                        parts
============================ ======================================== =================================
diffusers, finetrainers,     `transformer.`, dotted                   `.lora_A.weight`, `.lora_B.weight`;
CogKit, LTX-Video-Trainer                                             alpha in the metadata
diffusers before PEFT        `transformer.` or `unet.`, dotted        `.lora.down.weight`
PEFT (`save_pretrained`)     `base_model.model.`, dotted              `.lora_A.weight`; alpha in a file beside
PEFT, injected               dotted alone                             `.lora_A.default.weight`
diffusion-pipe, ai-toolkit   `diffusion_model.`, the original layout  `.lora_A.weight`
Genmo                        the original layout alone                `.lora_A`, `.lora_B`
VideoX-Fun (CogVideoX-Fun)   `lora_unet__`, underscored               `.lora_down.weight`, `.alpha`
VideoX-Fun with PEFT         dotted alone                             `.lora_A.weight`
... converted for ComfyUI    `lora_unet__`, underscored               `.lora_down.weight`
kohya                        `lora_unet_`, underscored                `.lora_down.weight`, `.alpha`
OneTrainer                   `lora_transformer_`, underscored         the same
LyCORIS, SimpleTuner         `lycoris_`, underscored                  the same, or `.lokr_w1`, `.hada_w1_a`
SAT (CogVideoX's authors)    `model.diffusion_model.`, its own layout `.matrix_A.0`, `.matrix_B.0`
============================ ======================================== =================================

`torch.compile`, FSDP and gradient checkpointing insert names of wrappers (WRAPPERS).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

# Trainers' names for the parts of an adapter -> ComfyUI's names. PEFT inserts the adapter's name. Genmo omits
# ".weight".
_PEFT = r"(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$"
PARTS = (
    (rf"\.lora_A{_PEFT}", "lora_down.weight"),
    (rf"\.lora_B{_PEFT}", "lora_up.weight"),
    (r"(?:[._]lora|\.lora_linear_layer)\.(down|up)\.weight$", r"lora_{}.weight"),
    (r"\.lora_(down|up|mid)\.weight$", r"lora_{}.weight"),
    (r"\.(alpha|dora_scale|diff|diff_b|w_norm|b_norm|set_weight)$", "{}"),
    (r"\.((?:hada|lokr|oft)_\w+)$", "{}"),
)
PREFIXES = ("base_model.model.", "model.", "diffusion_model.", "transformer.", "unet.", "module.")
"""Prefixes of a dotted name; there may be several. `module.` is DDP's."""
UNDERSCORED = ("lora_unet_", "lora_transformer_", "lycoris_")
"""Prefixes of a name with underscores for dots. A second underscore follows if the trainer gave the network no name."""
WRAPPERS = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)[._]"
"""Names that a wrapper of the trained network inserts into the names of its modules."""
MAX_KEY = 500
"""Longest key that is parsed, in characters; trainers' keys have up to about 120."""


def part_of(key: str) -> tuple[str, str] | None:
    """A key of a file -> (the trainer's name of the module, ComfyUI's name of the part); None if it has no part."""
    if len(key) > MAX_KEY:
        return None
    for pattern, part in PARTS:
        if match := re.search(pattern, key):
            return key[: match.start()], part.format(*match.groups())
    return None


def dotted_names(source: str) -> list[str]:
    """The trainer's name of a module, with and without each of the prefixes."""
    names = [re.sub(WRAPPERS, "", source)]
    for name in names:
        names += [name[len(prefix) :] for prefix in PREFIXES if name.startswith(prefix)]
    return names


def underscored_names(source: str) -> list[str]:
    """A module's name without its prefix, if the trainer wrote underscores for dots; else []."""
    plain = re.sub(WRAPPERS, "", source)
    return [plain[len(prefix) :].lstrip("_") for prefix in UNDERSCORED if plain.startswith(prefix)]


def pattern_of(name: str) -> str:
    """The module's name with all numbers as 0, which is the same in all blocks."""
    return re.sub(r"\d+", "0", name)


def with_dots(name: str) -> Iterator[str]:
    """Every dotted name that an underscored one can stand for; none if there would be more than 4096."""
    words = name.split("_")
    choices = ["." if word.isdigit() else "._" for word in words[:-1]]
    if math.prod(map(len, choices)) > 4096:
        return
    for marks in itertools.product(*choices):
        yield "".join(itertools.chain(*itertools.zip_longest(words, marks, fillvalue="")))


def dotted_like(name: str, dotted: str) -> str:
    """The underscored `name` with dots where `dotted` has them."""
    words, marks = name.split("_"), re.findall(r"[._]", dotted)
    return "".join(itertools.chain(*itertools.zip_longest(words, marks, fillvalue="")))
