"""Dynamic Guidance: CFG that changes from step to step, for models whose authors use it."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.bridge.wrappers.guidance import with_dynamic_guidance


class DynamicGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierDynamicGuidance",
            display_name="Dynamic Guidance",
            category="Atelier",
            description="Changes the guidance from step to step, as the model's own pipeline does (CogVideoX: "
            "use_dynamic_cfg).",
            inputs=[io.Model.Input("model", tooltip="The MODEL of Load Video Model.")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(with_dynamic_guidance(model))
