"""Speed Up Video: steps that bring little new take most of a network's work from the step before."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.bridge.wrappers.speed import THRESHOLDS, with_step_cache
from .inputs import check, found_by

OFF = "off"


class SpeedUpVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierSpeedUpVideo",
            display_name="Speed Up Video",
            category="Atelier",
            **found_by("teacache", "easycache", "first block cache", "faster"),
            description="Leaves out most of the network in steps that change little (first-block caching). The clip "
            "differs slightly from the one without it.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model."),
                io.Combo.Input(
                    "speed",
                    options=[OFF, *THRESHOLDS],
                    default="normal",
                    tooltip="How much a step may change and still be shortened. careful: hardly visible, a fifth less "
                    "time; normal: a third to half less; fast: half less or more, with small differences; off: as "
                    "without the node.",
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def validate_inputs(cls, speed=None) -> bool | str:
        return check(cls, speed=speed)

    @classmethod
    def execute(cls, model, speed: str) -> io.NodeOutput:
        return io.NodeOutput(with_step_cache(model, speed))
