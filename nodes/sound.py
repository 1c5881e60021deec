"""Place Sound: known sound in a shot, which the picture follows."""

from __future__ import annotations

from comfy_api.latest import io

from ..editing.placing import place_sound
from .inputs import found_by, strength_input, vae_input
from .notice import show
from .video import noted


class PlaceSound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierPlaceSound",
            display_name="Place Sound",
            category="Atelier",
            **found_by("audio", "sound to video", "lip sync"),
            description="Puts a sound into the shot of a model that makes sound (LTX-2). The sampler keeps it, and the "
            "picture follows it: lips, steps, rhythm.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip="The shot: an Empty Video Latent, or one with frames in it already."),
                io.Audio.Input(
                    "audio",
                    tooltip="The sound: speech, music, noises. It is cut where the shot ends; where it ends earlier, "
                    "the model makes the rest.",
                ),
                io.Float.Input(
                    "time",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.01,
                    tooltip="Seconds into the shot at which the sound begins.",
                ),
                strength_input("1 keeps the sound unchanged, 0 ignores it; in between, the model may change it."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, latent: dict, audio: dict, time: float, strength: float) -> io.NodeOutput:
        placed, begin, end, notes = place_sound(vae, latent, audio["waveform"], audio["sample_rate"], time, strength)
        show(cls, noted(f"sound from {begin:.2f} to {end:.2f} s is given, the sampler makes the rest", notes))
        return io.NodeOutput(placed)
