"""Expand Prompt: a few words into a paragraph like those that video models were trained on."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.library import folders
from ..prompts.expand import chosen, expand, expanders
from ..prompts.rules import AUTOMATIC
from .inputs import check, found_by
from .notice import show


class ExpandPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierExpandPrompt",
            display_name="Expand Prompt",
            category="Atelier",
            **found_by("enhance prompt", "prompt generator", "llm"),
            description="Expands a short prompt with what it leaves out: motion, place, camera, light. The node shows "
            "the result, and you can edit it before it is used.",
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a red circle",
                    tooltip="What the video should show, in a few words.",
                ),
                io.Combo.Input(
                    "expander",
                    options=expanders(),
                    default=AUTOMATIC,
                    tooltip="What writes the expansion. 'automatic' takes the first text model in models/LLM (a "
                    "transformers folder or a GGUF file), or the built-in rules if there is none.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed gives another expansion.",
                ),
                io.String.Input(
                    "expanded",
                    multiline=True,
                    default="",
                    tooltip="Empty: the prompt is expanded when the graph runs. Text written here is used instead: "
                    "paste an expansion here to edit it.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The MODEL of Load Video Model: the expansion fits its token limit. Without one it fits "
                    "every model's.",
                ),
            ],
            outputs=[io.String.Output(display_name="prompt")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, expander=None) -> bool | str:
        return check(cls, expander=expander)

    @classmethod
    def fingerprint_inputs(cls, expander: str = AUTOMATIC, **_: object) -> tuple:
        """Changes when a text model is added, or replaced under the same name."""
        name = chosen(expander)
        path = folders.text_model_path(name) if name in folders.text_models() else None
        files = sorted(path.iterdir()) if path and path.is_dir() else filter(None, [path])
        return name, *(file.stat().st_mtime_ns for file in files)

    @classmethod
    def execute(cls, prompt: str, expander: str, seed: int, expanded: str, model=None) -> io.NodeOutput:
        result = expand(prompt, expander, seed, expanded, model)
        notice = result.text, result.remark or f"Expanded by {result.expander}."
        show(cls, "\n\n".join(notice))
        return io.NodeOutput(
            result.text, ui={"text": [result.text], "expander": [result.expander], "remark": [result.remark]}
        )
