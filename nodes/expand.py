"""Expand Prompt: a few words to the paragraph that video models were trained on."""

from __future__ import annotations

import textwrap

from comfy_api.latest import io

from ..models.library import folders
from ..prompts.expand import chosen, expand, expanders
from ..prompts.rules import AUTOMATIC
from .inputs import check
from .notice import show

LINE = 45
"""Characters of a line that the browser does not break."""


class ExpandPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierExpandPrompt",
            display_name="Expand Prompt",
            category="Atelier",
            description="Makes a short prompt longer, with what it leaves out: motion, place, camera, light. The "
            "result is shown, and can be changed before it is used.",
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a red circle",
                    tooltip="What should be seen, in a few words.",
                ),
                io.Combo.Input(
                    "expander",
                    options=expanders(),
                    default=AUTOMATIC,
                    tooltip="Who makes it longer. 'automatic' takes the first text model in models/LLM (a transformers "
                    "folder or a GGUF file), and the built-in rules where there is none.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another expansion.",
                ),
                io.String.Input(
                    "expanded",
                    multiline=True,
                    default="",
                    tooltip="Empty: the prompt is expanded when the graph runs. Anything written here is used instead: "
                    "put an expansion here to change it.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The MODEL of Load Video Model: the text is made to fit what it reads. Without one it fits "
                    "all of them.",
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
        """A text model that was added, or replaced under its name, is asked again."""
        name = chosen(expander)
        path = folders.text_model_path(name) if name in folders.text_models() else None
        files = sorted(path.iterdir()) if path and path.is_dir() else filter(None, [path])
        return name, *(file.stat().st_mtime_ns for file in files)

    @classmethod
    def execute(cls, prompt: str, expander: str, seed: int, expanded: str, model=None) -> io.NodeOutput:
        made = expand(prompt, expander, seed, expanded, model)
        said = made.text, made.remark or f"Expanded by {made.expander}."
        show(cls, "\n\n".join(textwrap.fill(text, LINE) for text in said))
        return io.NodeOutput(made.text, ui={"text": [made.text], "expander": [made.expander], "remark": [made.remark]})
