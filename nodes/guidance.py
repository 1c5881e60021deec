"""Video Guidance: guidance by step, STG and CFG-Zero*, as the authors publish them or with own values."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.bridge.video_model import video_model
from ..models.bridge.wrappers.guidance import own_guidance, published, with_dynamic_guidance, with_video_guidance
from .inputs import check, found_by
from .notice import show

PUBLISHED, OWN, SECOND = "as published", "own values", "second pass, as published"
DEFAULTS = dict(guidance="", stg_scale="1", stg_blocks="", rescale="0.7", cfg_zero_star=False, zero_init_steps=0)
"""The inputs of 'own values', and what they are at first."""


class VideoGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierVideoGuidance",
            display_name="Video Guidance",
            category="Atelier",
            **found_by("cfg", "stg", "cfg-zero", "guider"),
            description="Guides the video as the model's authors do: guidance that changes over the steps, "
            "spatio-temporal guidance (STG), rescaling and CFG-Zero*. Works with every sampler.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model."),
                io.Combo.Input(
                    "recipe",
                    options=[PUBLISHED, OWN, SECOND],
                    default=PUBLISHED,
                    tooltip="'as published' applies the recipe of the model's authors, and the node shows it. 'own "
                    "values' applies the inputs below. 'second pass, as published' is for the Sample Video behind "
                    "Upscale Video Latent.",
                ),
                io.String.Input(
                    "guidance",
                    default=DEFAULTS["guidance"],
                    tooltip="Guidance (CFG) by step. 6 = all steps; 1, 6, 8, 1 = steps in turn; 0: 8, 0.5: 4, 1: 1 = "
                    "a curve (share of the steps: value). Empty = that of the sampler.",
                ),
                io.String.Input(
                    "stg_scale",
                    default=DEFAULTS["stg_scale"],
                    tooltip="Spatio-temporal guidance: steadier, finer motion for a third network pass in each step. 0 "
                    "= off. A number, a list or a curve, as for guidance.",
                ),
                io.String.Input(
                    "stg_blocks",
                    default=DEFAULTS["stg_blocks"],
                    tooltip="The blocks whose self-attention STG leaves out, such as 19 or 11, 25. A semicolon begins "
                    "those of later steps. Empty = no STG. LTX 2B: 19, LTX 13B: 28, Mochi: 34, CogVideoX: 11.",
                ),
                io.String.Input(
                    "rescale",
                    default=DEFAULTS["rescale"],
                    tooltip="How far the contrast that guidance adds is taken back: 0 (not at all) to 1. A number, a "
                    "list or a curve.",
                ),
                io.Boolean.Input(
                    "cfg_zero_star",
                    default=DEFAULTS["cfg_zero_star"],
                    tooltip="CFG-Zero*: scale the negative prompt's prediction to fit the positive's. For flow models.",
                ),
                io.Int.Input(
                    "zero_init_steps",
                    default=DEFAULTS["zero_init_steps"],
                    min=0,
                    max=100,
                    tooltip="So many of the first steps predict zeros instead of running the model (CFG-Zero*'s init).",
                ),
            ],
            outputs=[io.Model.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, recipe=None) -> bool | str:
        return check(cls, recipe=recipe)

    @classmethod
    def execute(cls, model, recipe: str, **values) -> io.NodeOutput:
        name = video_model(model).variant.name
        if recipe == OWN:
            guidance, lines = own_guidance(model, **values), []
        else:
            guidance, lines = published(model, second=recipe == SECOND)
            unused = [key for key, value in values.items() if value != DEFAULTS[key]]
            lines += [f"not used: {', '.join(unused)}\n(they belong to '{OWN}')"] if unused else []
        if guidance is not None:
            model, lines = with_video_guidance(model, guidance), [*guidance.summary(), *lines]
        show(cls, "\n".join([f"{name}, {recipe}:", *lines]))
        return io.NodeOutput(model)


class DynamicGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierDynamicGuidance",
            display_name="Dynamic Guidance",
            category="Atelier",
            **found_by("dynamic cfg", "use_dynamic_cfg"),
            description="Changes the guidance from step to step, as the model's own pipeline does (CogVideoX: "
            "use_dynamic_cfg). It stays for saved graphs. For guidance of your own by step, STG and CFG-Zero*, use "
            "Video Guidance.",
            inputs=[io.Model.Input("model", tooltip="The MODEL of Load Video Model.")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(with_dynamic_guidance(model))
