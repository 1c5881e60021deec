"""How long a shot will be, before it is made: asked by the storyboard's time line in the browser (web/storyboard/)."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web

from ...models.library.folders import as_listed, model_choices, model_path
from ...models.loading.identify import open_model
from ...models.timeline.length import length_of
from ...models.weights.errors import CheckpointError
from ..errors import words


async def answer(request: web.Request) -> web.Response:
    """A model by its name in Load Video Model, and seconds, frames, fps of Empty Video Latent -> `shot` as JSON.

    400 for what is no number, 404 for a model that is not there or of no family this pack knows.
    """
    try:
        asked = {name: kind(request.query.get(name, 0)) for name, kind in NUMBERS.items()}
        if not all(map(math.isfinite, asked.values())):
            raise ValueError("a number is infinite, or none")
    except ValueError as error:
        return web.json_response({"error": f"{error}; expected numbers: {', '.join(NUMBERS)}"}, status=400)
    try:
        return web.json_response(await asyncio.to_thread(shot, request.query.get("model", ""), **asked))
    except (CheckpointError, OSError) as error:
        return web.json_response({"error": words(error)}, status=404)


NUMBERS = {"seconds": float, "frames": int, "fps": float}


def shot(model: str, seconds: float, frames: int, fps: float) -> dict[str, float]:
    """Frames, frames per second, seconds, and how many frames a latent frame after the first holds.

    Only the headers of the model's files are read. Raises CheckpointError, OSError.
    """
    if as_listed(model, model_choices()) is None:
        raise CheckpointError(f"There is no model '{model}' in Load Video Model.")
    variant = open_model(model_path(model)).variant
    legal, rate = length_of(variant, seconds, frames, fps)
    return {"frames": legal, "fps": rate, "seconds": legal / rate, "latent_frame": variant.grid.temporal}
