"""A program written for Sora, with OpenAI's client of any version: everything its Videos API has, start to end.

usage: program.py BASE_URL FOLDER   (FOLDER has clip.mp4 and picture.png; what is downloaded goes there)
Prints what it saw as JSON. A method that this version does not have yet goes over the client's own `post` and `get`.
"""

from __future__ import annotations

import base64
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import openai
from openai import OpenAI
from openai.types import Video

warnings.simplefilter("ignore", DeprecationWarning)
QUICK = {"num_inference_steps": 2, "seed": 7}
MULTIPART = {"headers": {"Content-Type": "multipart/form-data"}}


def main(url: str, folder: Path) -> dict[str, Any]:
    client = OpenAI(base_url=url, api_key="any")
    return {
        "version": openai.__version__,
        "models": [model.id for model in client.models.list()],
        **made_and_downloaded(client, folder),
        **changed(client, folder),
        **characters(client, folder),
        **listed_and_deleted(client),
    }


def told(video: Video) -> dict[str, Any]:
    """The video as it is on the wire, extension fields too."""
    return json.loads(video.model_dump_json())


def made_and_downloaded(client: OpenAI, folder: Path) -> dict[str, Any]:
    queued = client.videos.create(
        prompt="a red circle moving left", model="sora-2-pro", seconds="4", size="720x1280", extra_body=QUICK
    )
    done = client.videos.poll(queued.id, poll_interval_ms=200)
    for variant, name in (("video", "video.mp4"), ("thumbnail", "thumbnail.webp"), ("spritesheet", "sheet.jpg")):
        client.videos.download_content(done.id, variant=variant).write_to_file(folder / name)
    url = "data:image/png;base64," + base64.b64encode((folder / "picture.png").read_bytes()).decode()
    shown = client.videos.create_and_poll(prompt="x", input_reference=folder / "picture.png", extra_body=QUICK)
    # A dict as `input_reference` is refused by 2.54 and 3.54 before anything is sent; extra_body always works.
    encoded = client.videos.create_and_poll(
        prompt="x", extra_body={"input_reference": {"image_url": url}, **QUICK}, poll_interval_ms=200
    )
    return {"queued": told(queued), "done": told(done), "by file": told(shown), "by data URL": told(encoded)}


def changed(client: OpenAI, folder: Path) -> dict[str, Any]:
    source = client.videos.create_and_poll(prompt="a red circle", extra_body=QUICK)
    remixed = client.videos.remix(source.id, prompt="a blue circle", extra_body=QUICK)
    clip = ("clip.mp4", (folder / "clip.mp4").read_bytes(), "application/octet-stream")
    asked = {"prompt": "a blue circle", **QUICK}
    if hasattr(client.videos, "edit"):
        edited = client.videos.edit(prompt="a blue circle", video=clip, extra_body=QUICK)
        extended = client.videos.extend(prompt="it goes on", video=clip, seconds="4", extra_body=QUICK)
    else:
        sent = {"files": [("video", clip)], "options": MULTIPART, "cast_to": Video}
        edited = client.post("/videos/edits", body=asked, **sent)
        extended = client.post("/videos/extensions", body=asked | {"seconds": "4"}, **sent)
    named = client.post("/videos/edits", body=asked | {"video": {"id": source.id}}, cast_to=Video)
    jobs = {"remixed": remixed, "edited": edited, "edited by id": named, "extended": extended}
    found = {name: told(client.videos.poll(job.id, poll_interval_ms=200)) for name, job in jobs.items()}
    return found | {"source": told(source)}


def characters(client: OpenAI, folder: Path) -> dict[str, Any]:
    clip = ("clip.mp4", (folder / "clip.mp4").read_bytes(), "video/mp4")
    if hasattr(client.videos, "create_character"):
        made = client.videos.create_character(name="Ruby", video=clip)
        identity, name = made.id, client.videos.get_character(made.id).name
    else:
        body, files = {"name": "Ruby"}, [("video", clip)]
        made = client.post("/videos/characters", body=body, files=files, options=MULTIPART, cast_to=object)
        identity = made["id"]
        name = client.get(f"/videos/characters/{identity}", cast_to=object)["name"]
    video = client.videos.create_and_poll(prompt="Ruby", extra_body={"characters": [{"id": identity}], **QUICK})
    return {"character": name, "with character": told(video)}


def listed_and_deleted(client: OpenAI) -> dict[str, Any]:
    listed = [video.id for video in client.videos.list(limit=3)]
    oldest = [video.id for video in client.videos.list(limit=3, order="asc")]
    page = client.videos.list(limit=2)
    gone = client.videos.delete(listed[0])
    try:
        client.videos.retrieve(listed[0])
    except openai.NotFoundError as error:
        code = error.code
    return {
        "listed": listed,
        "oldest": oldest,
        "page": [len(page.data), page.has_more],
        "deleted": [gone.deleted, gone.id, code],
        "refused": refusal(client),
    }


def refusal(client: OpenAI) -> list[Any]:
    try:
        client.videos.create(prompt="x", size="big")
    except openai.BadRequestError as error:
        return [error.code, error.param]
    return []


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
