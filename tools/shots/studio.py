"""Shared by the measurements: the pack's nodes called as ComfyUI does, clips to edit, and figures of frames.

The clips are freshly rendered by tools/pocket/world.py.
"""

import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any

SEED = 70_500_000
"""Clips from here on belong to this table; neither training nor scoring uses them."""
FPS = 8
"""Frames a second of all clips."""
MODELS = {
    "ltx": "pocket (built in)",
    "cogvideox": "pocket cogvideox (built in)",
    "mochi": "pocket mochi (built in)",
    "pyramid": "pocket pyramid (built in)",
}
"""Architecture -> the model's name in the list."""
SIDEWAYS = ("left", "right", "up", "down")


class Studio:
    """A built-in model, and the pack's nodes called as ComfyUI would call them.

    `temporal` is the number of frames of a latent frame, `step` that of frames that are edited as one: a latent frame,
    or the two that CogVideoX's autoencoder codes together. `length` is the number of frames of a source clip: as many
    as the model makes at once, but at least three times `step`, and the first.
    `side` is a picture's width and height in pixels.
    """

    def __init__(self, architecture: str = "ltx") -> None:
        from atelier import nodes

        self.nodes = nodes
        self.model, self.clip, self.vae = self.call(
            nodes.LoadVideoModel,
            model=MODELS[architecture],
            weight_dtype="float32",
            text_encoder="automatic",
            vae="automatic",
        )
        variant = self.model.model.variant
        self.temporal = variant.grid.temporal
        self.step = self.temporal * variant.grid.group
        self.length = max(variant.recipe.frames, 3 * self.step + 1)
        self.side = variant.recipe.width

    def call(self, node: Any, **inputs: Any) -> Any:
        """A node's outputs; the output itself where there is one."""
        node.GET_SCHEMA()
        outputs = node.execute(**inputs)
        outputs = (asyncio.run(outputs) if asyncio.iscoroutine(outputs) else outputs).args
        return outputs[0] if len(outputs) == 1 else outputs

    def whole(self, seconds: float) -> int:
        """Frames that the editing nodes make of a time: the nearest multiple of `step`, one at least."""
        return max(1, round(seconds * FPS / self.step)) * self.step

    def encoded(self, frames: Any) -> dict:
        """A finished clip from frames [F, H, W, 3]."""
        return {"samples": self.vae.encode(frames), "frame_rate": float(FPS)}

    def decoded(self, latent: dict) -> Any:
        """Frames [F, H, W, 3]."""
        import torch
        from atelier.editing import decoding

        return torch.cat(list(decoding.frames(self.vae, latent)))

    def sampled(self, latent: dict, prompt: str, seed: int, denoise: float = 1.0) -> dict:
        texts = dict(prompt=prompt, negative_prompt="", style="none")
        positive, negative = self.call(self.nodes.EncodeVideoPrompt, clip=self.clip, **texts)
        given = dict(model=self.model, positive=positive, negative=negative, latent=latent)
        return self.call(self.nodes.SampleVideo, **given, seed=seed, steps=0, guidance=0.0, denoise=denoise)

    def filled(self, node: Any, prompt: str, seed: int, **inputs: Any) -> Any:
        """The frames after an editing node, Sample Video and Join Shot."""
        shot = self.call(node, vae=self.vae, **inputs)
        return self.decoded(self.call(self.nodes.JoinShot, latent=self.sampled(shot, prompt, seed)))


def prompt_of(scene: Any, *left_out: str) -> str:
    """A plain prompt of a scene, for example "a large red circle moving left on a black background"."""
    motion = {"still": "standing still", "grow": "growing"}.get(scene.motion, f"moving {scene.motion}")
    words = dict(size=scene.size, color=scene.color, shape=scene.shape, motion=motion)
    told = [word for name, word in words.items() if name not in left_out]
    return f"a {' '.join(told)} on a {scene.background} background"


def source(number: int, frames: int, motions: tuple[str, ...] = SIDEWAYS, side: int = 64) -> tuple[Any, Any]:
    """A scene, and its frames [F, side, side, 3] in 0..1."""
    from pocket.world import draw_scenes

    scene = replace(draw_scenes(1, random.Random(SEED + number))[0], motion=motions[number % len(motions)])
    return scene, rendered(scene, number, frames, side)


def rendered(scene: Any, number: int, frames: int, side: int) -> Any:
    """Frames [F, side, side, 3] in 0..1 of a scene, with the shape wholly in the picture from first to last."""
    from pocket.world import render

    seed = next(seed for seed in itertools.count(1000 * (SEED + number)) if stays_inside(scene, seed, frames))
    clip = render([scene], random.Random(seed), frames=frames, width=side, height=side)
    return (clip[0].movedim(0, -1) + 1) / 2


def stays_inside(scene: Any, seed: int, frames: int) -> bool:
    """Whether this seed's shape never touches the picture's edge, as in all clips of the training."""
    from pocket.world import UNIT, path, reach

    x, y, radius, _ = path([scene] * frames, random.Random(seed), FPS, (UNIT, UNIT))
    room = reach(scene.shape) * radius + 1
    return all(bool((at > room).all() and (UNIT - at > room).all()) for at in (x, y))


def other(number: int, name: str, value: str) -> str:
    """A value of an attribute that differs from the given one."""
    from pocket.world import ATTRIBUTES

    return random.Random(SEED + number).choice([v for v in ATTRIBUTES[name] if v != value])


def kept(a: Any, b: Any) -> float:
    """Peak signal-to-noise ratio in dB of frames in 0..1; 100 at most."""
    import torch

    return float(-10 * torch.log10((a - b).pow(2).mean().clamp(min=1e-10)))


def steps_of(frames: Any) -> list[float]:
    """Mean absolute difference between each frame and the next."""
    return (frames[1:] - frames[:-1]).abs().flatten(1).mean(1).tolist()


def velocity(frames: Any, motion: str) -> float:
    """Travel along the scene's direction, in world units over 16 frames."""
    from pocket.score import analyse
    from pocket.world import MOTIONS

    seen, (x, y) = analyse(frames), MOTIONS[motion]
    return x * seen.get("dx", 0.0) + y * seen.get("dy", 0.0)
