"""Sample Piece: what a worker of the farm runs of a Sample Video on the head. Only a worker's ComfyUI has this node."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..farm import parcel
from ..models.bridge.sampling import sampled
from ..models.timeline.latent import video_of
from ..models.timeline.openings import openings_of


class SamplePiece(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierSamplePiece",
            display_name="Sample Piece",
            category="Atelier",
            description="Samples a piece of a shot for the farm's head, and saves its latents.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of the head's graph."),
                io.String.Input("values", tooltip="The file with everything else that is sampled (farm/parcel.py)."),
                io.Int.Input("index", min=0, max=1_000_000, tooltip="Which of a list of MODELs it takes."),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: list, values: list[str], index: list[int]) -> io.NodeOutput:
        file = Path(folder_paths.get_annotated_filepath(values[0]))
        samples = sampled(model[min(index[0], len(model) - 1)], **parcel.read(file))  # the last one is repeated
        made = samples, openings_of(video_of(samples))
        parcel.write(Path(folder_paths.get_output_directory()) / parcel.FOLDER / file.name, made)
        return io.NodeOutput(ui={"files": [ui.SavedResult(file.name, parcel.FOLDER, io.FolderType.output)]})
