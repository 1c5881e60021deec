"""Load Video Model: model files into MODEL, CLIP and VAE."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..models.bridge.machine import memory_warning
from ..models.bridge.pairing import pair
from ..models.contract.family import EULER, WEIGHT_DTYPES, Variant
from ..models.contract.guidance import StreamGuidance
from ..models.library.folders import POCKET, as_listed, comfyui_lists, file_path, listed, model_choices, model_path
from ..models.library.published import Here, find, gigabytes, offered
from ..models.loading import load
from ..models.loading.identify import open_model
from ..models.loading.parts import with_parts
from ..models.weights.checkpoint import weight_files
from .fetch import obtained
from .inputs import check, found_by
from .notice import show

AUTOMATIC = "automatic"


def _files(kind: str) -> list[Path]:
    return [file_path(kind, name) for name in listed(kind)]


def _chosen(kind: str, name: str) -> Path | None:
    return None if name == AUTOMATIC else file_path(kind, name)


class LoadVideoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierLoadVideoModel",
            display_name="Load Video Model",
            category="Atelier",
            **found_by(
                "checkpoint loader", "text to video", "t2v", "ltx", "cogvideox", "mochi", "pyramid flow", essential=True
            ),
            description="Loads an open text-to-video model: LTX Video, LTX-2, CogVideoX, Mochi 1 or Pyramid Flow. The "
            "family is recognised from the files.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*(here := Here()).choices, *here.offers()],
                    default=POCKET,
                    tooltip="'pocket', 'pocket cogvideox', 'pocket mochi', 'pocket pyramid' and 'pocket sound' are "
                    "tiny built-in models of coloured shapes. 'NAME, fetch 6.3 GB' downloads a published model from "
                    "Hugging Face when the graph runs. Put your own as folders in models/diffusers, as files in "
                    "models/checkpoints or models/diffusion_models.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="Data type of the weights in memory. 'default' suits your hardware; float8 needs about "
                    "half the memory of 16 bits and costs a little quality. GGUF and 'scaled' fp8 files keep their own "
                    "type.",
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=[AUTOMATIC, *listed("text_encoders")],
                    default=AUTOMATIC,
                    tooltip="'automatic' takes the model's own, else a T5-XXL file (LTX-2: Gemma 3 12B) from "
                    "models/text_encoders. A file chosen here takes its place; CLIP encoders, which Pyramid Flow has "
                    "too, are always found automatically.",
                ),
                io.Combo.Input(
                    "vae",
                    options=[AUTOMATIC, *comfyui_lists("vae")],
                    default=AUTOMATIC,
                    tooltip="'automatic' takes the model's own, else the file in models/vae that fits its version.",
                ),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, model=None, weight_dtype=None, text_encoder=None, vae=None) -> bool | str:
        others = {"weight_dtype": weight_dtype, "text_encoder": text_encoder, "vae": vae}
        if model is None or offered(model):  # an offer's size changes when a part of it arrives
            return check(cls, **others)
        entry = find(model) if as_listed(model, model_choices()) is None else None
        if entry is None:
            return check(cls, model=model, **others)
        size = gigabytes(sum(part.bytes for part in Here().missing(entry)))
        return (
            f"'{model}' is not here. It can be fetched ({size}): choose '{entry.name}, fetch ...' at the end of the "
            f"list, or run 'python run.py models get {entry.id}'."
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, text_encoder: str, vae: str, **_: str) -> list:
        """Changes when a file is replaced under the same name, so that it is loaded again."""
        if offered(model):
            choice = Here().choice(offered(model))
            if choice is None:
                return [model]
            model = choice
        chosen = [model_path(model), _chosen("text_encoders", text_encoder), _chosen("vae", vae)]
        return [(str(file), file.stat().st_mtime_ns) for path in filter(None, chosen) for file in weight_files(path)]

    @classmethod
    def execute(cls, model: str, weight_dtype: str, text_encoder: str, vae: str) -> io.NodeOutput:
        opened = with_parts(open_model(model_path(obtained(cls, model))), _files)
        clip = load.load_clip(opened, lambda: _files("text_encoders"), _chosen("text_encoders", text_encoder))
        found: list[str] = []
        decoder = load.load_vae(opened, lambda: _files("vae"), _chosen("vae", vae), tell=found.append)
        network = pair(load.load_model(opened, weight_dtype), decoder)
        show(cls, ",\n".join(filter(None, [advice(network.model.variant), *found, memory_warning(network)])))
        return io.NodeOutput(network, clip, decoder)


def advice(variant: Variant) -> str:
    """What a variant's authors recommend and what an artist should know of it, in lines."""
    recipe, sampler = variant.recipe, variant.sampler
    lines = [
        f"{variant.name} recommends {recipe.width} x {recipe.height}",
        f"{recipe.frames} frames at {recipe.fps:g} fps, {recipe.steps} steps, {_guidance(variant)}",
        f"the sampler {sampler}" if sampler != EULER else "",
        f"negative prompt '{recipe.negative_prompt}'" if recipe.negative_prompt else "",
        variant.known_frames.about,
        *variant.notes,
    ]
    return ",\n".join(filter(None, lines))


def _guidance(variant: Variant) -> str:
    if isinstance(variant.guidance, StreamGuidance):
        return f"guidance {variant.guidance.video.text:g}, of the sound {variant.guidance.sound.text:g}"
    scales = [level.cfg for level in variant.guidance.levels] if variant.guidance else [variant.recipe.guidance]
    least, most = min(scales), max(scales)
    return f"guidance {most:g}" if least == most else f"guidance {least:g} to {most:g}, step by step"
