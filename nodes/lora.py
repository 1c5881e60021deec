"""Load Video LoRA: applies a LoRA to a loaded model."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..models.library.folders import comfyui_lists, file_path
from ..models.loading.lora import Applied, add_lora
from .inputs import check, found_by
from .notice import show


class LoadVideoLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierLoadVideoLoRA",
            display_name="Load Video LoRA",
            category="Atelier",
            **found_by("lora loader", "ic-lora"),
            description="Applies a LoRA to a model of Load Video Model: a style, a character, a movement, fewer steps. "
            "You can chain several.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model, or of another Load Video LoRA."),
                io.Combo.Input(
                    "lora",
                    options=comfyui_lists("loras"),
                    tooltip="A file in models/loras that was trained for this model, with any trainer.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="1 = as trained, 0 = off, below 0 = the opposite effect.",
                ),
            ],
            outputs=[io.Model.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, lora=None) -> bool | str:
        return check(cls, lora=lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: object) -> int:
        """Changes when the file is replaced under the same name, so that it is loaded again."""
        return file_path("loras", lora).stat().st_mtime_ns

    @classmethod
    def execute(cls, model, lora: str, strength: float) -> io.NodeOutput:
        applied = add_lora(model, file_path("loras", lora), strength)
        if applied.unused:
            logging.warning("Atelier: %s has parts without a place in the model: %s", lora, ", ".join(applied.unused))
        show(cls, summary(applied))
        return io.NodeOutput(applied.model)


def summary(applied: Applied) -> str:
    """The node's notice: how many weights the LoRA changes, and which of its parts are not used."""
    reached, blocks = applied.blocks
    lines = [f"{applied.changed} weights changed, in {reached} of {blocks} blocks."]
    lines += [f"This is {applied.needs}."] if applied.needs else []
    if applied.unused:
        shown = applied.unused[:3]
        lines.append(f"{len(applied.unused)} parts of the file have no place here")
        lines += [*shown, *(["... (all in the log)"] if len(applied.unused) > len(shown) else [])]
    return "\n".join(lines)
