"""Empty Video Latent, Place Frames and Place Keyframes: a shot as a latent with holes, which the sampler fills."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..editing.placing import place_images
from ..models.bridge.sampling import empty_shot
from ..models.bridge.vae import vae_grid
from ..models.bridge.video_model import video_model
from ..models.timeline import placing
from ..models.timeline.latent import frame_rate_of, picture_of
from ..models.timeline.length import length_of
from .inputs import MAX_SIDE, check, found_by, strength_input, vae_input
from .notice import show


class EmptyVideoLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierEmptyVideoLatent",
            display_name="Empty Video Latent",
            category="Atelier",
            **found_by("empty latent", "video size", "video length", "frames", essential=True),
            description="An empty shot for the sampler. Size and length move to the nearest the model can make.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model: it knows which sizes are legal."),
                io.Int.Input(
                    "width", default=0, min=0, max=MAX_SIDE, step=8, tooltip="Pixels. 0 = what the model recommends."
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=MAX_SIDE, step=8, tooltip="Pixels. 0 = what the model recommends."
                ),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.1,
                    tooltip="Length of the clip. 0 = what the model recommends. Ignored if 'frames' is above 0.",
                ),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="Length in frames instead of seconds. 0 = use seconds.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames per second. 0 = what the model recommends.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many clips to make at once."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model, width: int, height: int, seconds: float, frames: int, fps: float, batch_size: int
    ) -> io.NodeOutput:
        variant = video_model(model).variant
        grid, recipe = variant.grid, variant.recipe
        legal, rate = length_of(variant, seconds, frames, fps)
        size = grid.legal_side(width or recipe.width), grid.legal_side(height or recipe.height), legal
        moved = [
            f"{name} {was} -> {now}"
            for name, was, now in zip(("width", "height", "frames"), (width, height, frames), size, strict=True)
            if was and was != now
        ]
        note = f"\n({', '.join(moved)}: the nearest that {variant.name} can make)" if moved else ""
        show(cls, f"{size[0]} x {size[1]}, {size[2]} frames at {rate:g} fps = {size[2] / rate:.2f} s{note}")
        return io.NodeOutput(empty_shot(variant, size, rate, batch_size))


class PlaceFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierPlaceFrames",
            display_name="Place Frames",
            category="Atelier",
            **found_by("image to video", "i2v", "first frame", "last frame", "start image"),
            description="Puts an image or a piece of video into the shot. The sampler keeps it and makes the rest. "
            "An image at the start is image-to-video; chain several nodes for several images.",
            inputs=[
                vae_input(),
                io.Latent.Input(
                    "latent", tooltip="The shot: an Empty Video Latent, or the output of another Place Frames."
                ),
                io.Image.Input(
                    "images",
                    tooltip="One image or the frames of a clip. They are scaled and cropped to the shot's size.",
                ),
                io.Combo.Input(
                    "position",
                    options=["first", "last", "at time"],
                    default="first",
                    tooltip="Where in the shot the images go.",
                ),
                io.Float.Input(
                    "time",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.01,
                    tooltip="Seconds from the start, for position 'at time'.",
                ),
                strength_input("1 keeps the images unchanged, 0 ignores them; in between, the model may change them."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, position=None) -> bool | str:
        return check(cls, position=position)

    @classmethod
    def execute(
        cls, vae, latent: dict, images: torch.Tensor, position: str, time: float, strength: float
    ) -> io.NodeOutput:
        grid, time_frames = vae_grid(vae), picture_of(latent).shape[2]
        start = placing.start_of(position, time, len(images), latent, grid)
        frame = placing.frame_of(position, time, latent, grid)
        placed, end = place_images(vae, latent, images, start, frame, strength)
        first, last, total = (grid.frames(start) + 1 if start else 1), grid.frames(end), grid.frames(time_frames)
        given = f"frame {first} of {total} is" if first == last else f"frames {first} to {last} of {total} are"
        seconds = (grid.frames(time_frames) - 1) / frame_rate_of(latent)  # the time of the last frame
        late = position == "at time" and round(time, 2) > round(seconds, 2)
        note = f"\n({time:g} s is after the end, {seconds:.2f} s: placed there)" if late else ""
        show(cls, f"{given} given, the sampler makes the rest{note}")
        return io.NodeOutput(placed)


class PlaceKeyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierPlaceKeyframes",
            display_name="Place Keyframes",
            category="Atelier",
            **found_by("keyframe", "first last frame", "guide image"),
            description="Puts any number of images into the shot, each at its own time. The sampler makes the frames "
            "in between.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip="The shot: an Empty Video Latent, or one with frames in it already."),
                io.Image.Input(
                    "images",
                    tooltip="One image for each time, as a batch (Batch Images), scaled and cropped to the shot.",
                ),
                io.String.Input(
                    "times",
                    default="first, last",
                    tooltip="A time for each image, separated by commas: seconds, first, last, or a share of the shot "
                    "such as 50%.",
                ),
                io.String.Input(
                    "strengths",
                    default="1",
                    tooltip="How strictly each image is kept, 0 to 1, separated by commas. One number is for all.",
                ),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, latent: dict, images: torch.Tensor, times: str, strengths: str) -> io.NodeOutput:
        grid, given = vae_grid(vae), []
        for frame, strength in placing.keyframes(times, strengths, len(images), latent, grid):
            place = placing.latent_frame_of(frame, grid)
            latent, _ = place_images(vae, latent, images[len(given)][None], place, frame, strength)
            given.append(grid.frames(place) + 1 if place else 1)
        total = grid.frames(picture_of(latent).shape[2])
        listed = ", ".join(map(str, given))
        frames = "frame" if len(given) == 1 else "frames"
        show(cls, f"images begin at {frames} {listed} of {total}")
        return io.NodeOutput(latent)
