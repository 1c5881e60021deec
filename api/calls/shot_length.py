"""GET /atelier/shot: the length that a shot will have. The storyboard editor in the browser asks (web/storyboard/)."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web

from ...models.library.folders import as_listed, model_choices, model_path
from ...models.loading.identify import open_model
from ...models.timeline.length import length_of
from ...models.weights.errors import CheckpointError
from ..errors import summary


async def answer(request: web.Request) -> web.Response:
    """Answer `shot` as JSON. The query has the model's name and Empty Video Latent's seconds, frames and fps.

    400 if one of them is not a number, 404 if the model does not exist or belongs to no known family.
    """
    try:
        numbers = {name: kind(request.query.get(name, 0)) for name, kind in NUMBERS.items()}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("infinity and nan are not allowed")
    except ValueError as error:
        message = f"Send a number for each of {', '.join(NUMBERS)}: {summary(error)}."
        return web.json_response({"error": message}, status=400)
    try:
        return web.json_response(await asyncio.to_thread(shot, request.query.get("model", ""), **numbers))
    except (CheckpointError, OSError) as error:
        return web.json_response({"error": summary(error)}, status=404)


NUMBERS = {"seconds": float, "frames": int, "fps": float}
"""Query parameter -> its type; 0 if it is not sent."""


def shot(model: str, seconds: float, frames: int, fps: float) -> dict[str, float]:
    """The legal number of frames, the frame rate, the length in seconds, and pixel frames per latent frame.

    Reads only the headers of the model's files. Raises CheckpointError, OSError.
    """
    if as_listed(model, model_choices()) is None:
        raise CheckpointError(f"Load Video Model has no model '{model}' in its list.")
    variant = open_model(model_path(model)).variant
    legal, rate = length_of(variant, seconds, frames, fps)
    return {"frames": legal, "fps": rate, "seconds": legal / rate, "latent_frame": variant.grid.temporal}
