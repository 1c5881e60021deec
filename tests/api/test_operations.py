"""The effect of each operation on pixels, with the pocket model: extend, loop, edit, storyboard, style."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from pathlib import Path

import adapters
import av
import clips
import numpy as np
import pytest
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_upscaler
import torch
from atelier.api.graphs import interpolation
from PIL import Image
from safetensors.torch import load_file
from wire_client import FAST, data_url, error, png, wait

POCKET = Path(__file__).parents[2] / "models" / "pocket" / "transformer"


def made(http, path: str, body: dict, clip=None) -> tuple[dict, np.ndarray]:
    """The finished video and its frames [F, H, W, 3] in 0..255."""
    if clip is None:
        answer = http.post(path, json=body)
    else:
        with clip.open("rb") as file:
            answer = http.post(path, data=body, files={"video": file})
    video = wait(http, answer.json())
    assert video["status"] == "completed", video
    return video, frames(http.get(f"/videos/{video['id']}/content").content)


def frames(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@pytest.fixture
def numbered(tmp_path):
    """Twenty frames at 8 fps, each with its number in its pixels. No model's grid has 20 frames."""
    return clips.make(tmp_path / "numbered.mp4", clips.numbered(20, 64, 64), fps=8)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_extension_keeps_every_frame_of_the_clip(http, numbered, direction):
    video, pictures = made(http, "/videos/extensions", FAST | {"seconds": 1, "direction": direction}, numbered)
    assert (len(pictures), video["num_frames"], video["seconds"], video["direction"]) == (28, 28, "4", direction)
    kept = pictures[:20] if direction == "forward" else pictures[-20:]
    assert clips.numbers(torch.from_numpy(kept / 255)) == list(range(20))


def test_an_extension_goes_on_where_the_clip_ends(http, finished):
    body = FAST | {"num_inference_steps": 8, "seconds": 1, "video": {"id": finished.id}}
    _, pictures = made(http, "/videos/extensions", body)
    steps = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))
    assert steps[16] < 3 * steps[:16].max()


def test_a_loop_closes(http, finished):
    video, pictures = made(
        http, "/videos/edits", FAST | {"num_inference_steps": 8, "loop": True, "video": {"id": finished.id}}
    )
    source = frames(http.get(f"/videos/{finished.id}/content").content)
    assert (video["operation"], video["loop"], len(pictures)) == ("loop", "normal", 16)
    assert distance(pictures[-1], pictures[0]) < distance(source[-1], source[0]) / 2


def test_a_new_video_that_loops(http):
    body = {"prompt": "a red circle moving left on a black background", "seed": 1, "steps": 8}
    video, pictures = made(http, "/videos", body | {"loop": "long"})
    _, open_ended = made(http, "/videos", body)
    assert (video["warnings"], video["loop"], len(pictures)) == ([], "long", 16)
    assert distance(pictures[-1], pictures[0]) < distance(open_ended[-1], open_ended[0]) / 2


def test_a_storyboard_changes_what_is_seen(http):
    cards = [
        {"time": 0, "prompt": "a big red circle moving left on a black background"},
        {"time": 1.6, "prompt": "a big blue circle moving left on a black background", "cut": True},
    ]
    body = {"prompt": "not seen", "storyboard": cards, "num_frames": 25, "seed": 1}
    video, pictures = made(http, "/videos", body)
    assert (video["operation"], video["warnings"], len(pictures)) == ("storyboard", [], 25)
    redder = (pictures[..., 0] - pictures[..., 2]).mean(axis=(1, 2))
    assert redder[:9].mean() > 0 > redder[-5:].mean()


def sent(http, path: str, fields: dict, *files: tuple[str, Path]) -> tuple[dict, np.ndarray]:
    """The finished video of a form with files, and its frames."""
    with ExitStack() as opened:
        parts = [(name, opened.enter_context(file.open("rb"))) for name, file in files]
        video = wait(http, http.post(path, data=FAST | fields, files=parts).json())
    assert video["status"] == "completed", video
    return video, frames(http.get(f"/videos/{video['id']}/content").content)


def numbers(pictures: np.ndarray) -> list[int]:
    return clips.numbers(torch.from_numpy(pictures / 255))


def test_a_storyboard_shows_its_images(http, tmp_path):
    """A picture inside a card and a clip among the files; a card names both by their numbers."""
    green = clips.make(tmp_path / "green.mp4", torch.tensor([0.0, 1.0, 0.0]).expand(8, 48, 64, 3), fps=8)
    cards = [
        {"time": 0, "prompt": "a red circle on a black background"},
        {"time": 1, "prompt": "", "image": {"image_url": data_url(png("blue"))}, "cut": True},
        {"time": 2, "prompt": "a green square", "image": 2, "cut": True},
    ]
    fields = {"storyboard": json.dumps(cards), "num_frames": "25"}
    video, pictures = sent(http, "/videos", fields, ("storyboard_images", green))
    assert (video["operation"], video["warnings"], len(pictures)) == ("storyboard", [], 25)
    assert video["storyboard"].splitlines()[1:] == ["1s cut [image 1]:", "2s cut [image 2]: a green square"]
    seen = pictures.mean(axis=(1, 2))
    assert seen[9].argmax() == 2 and seen[9][2] > 150  # blue at its card
    assert all(colour.argmax() == 1 and colour[1] > 120 for colour in seen[18:23]), seen[16:]  # the clip plays on
    assert [image["kind"] for image in video["storyboard_images"]] == ["image", "video"]
    assert sent_images(http, video["id"]) == [png("blue"), green.read_bytes()]
    board = {"storyboard": "0s [image 2]: x", "storyboard_images": [data_url(png()), {"id": video["id"]}], "n": 2}
    answer = http.post("/videos", json=FAST | board).json()
    assert answer["warnings"] == ["No card names image 1 of 'storyboard_images'."]
    for other in answer["variations"]:
        assert http.get(f"/videos/{other}").json()["storyboard_images"][1] == {"id": video["id"]}
        assert sent_images(http, other) == [png(), "No file was sent for image 2 of the storyboard."]


def sent_images(http, identity: str) -> list[bytes | str]:
    """What the content of a video has as the two images of its storyboard: the file, or why there is none."""
    address = f"/videos/{identity}/content"
    answers = [http.get(address, params={"variant": "storyboard_image", "number": n}) for n in (1, 2)]
    return [each.content if each.status_code == 200 else each.json()["error"]["message"] for each in answers]


def test_a_recut_puts_the_clip_s_own_frames_in_a_new_order(http, numbered):
    pieces = [{"start": 1, "end": 2}, {"end": 0.5, "repeat": 2}, {"start": 2.25}]
    video, pictures = sent(http, "/videos/edits", {"recut": json.dumps(pieces)}, ("video", numbered))
    assert (video["operation"], video["num_frames"]) == ("recut", 18)
    assert video["recut"] == "1 - 2\n0 - 0.5\n0 - 0.5\n2.25 - 2.5"
    unused = ("num_inference_steps", "seed")
    assert video["warnings"] == [f"'{name}' is not used by the graph recut." for name in unused]
    assert numbers(pictures) == [*range(8, 16), *range(4), *range(4), 18, 19]


def test_a_gap_of_a_recut_is_filled_and_the_rest_stays(http, numbered):
    fields = {"recut": "0 - 1\ngap 0.9\n1.5 -", "num_inference_steps": "4"}
    video, pictures = sent(http, "/videos/edits", fields, ("video", numbered))
    assert (video["operation"], video["num_frames"], video["seconds"]) == ("fill", 24, "3")
    assert video["warnings"] == ["The gaps are 1 s, not 0.875 s: the model makes so many frames at a time."]
    assert numbers(pictures[:8]) == [*range(8)] and numbers(pictures[16:]) == [*range(12, 20)]
    made = [distance(one, pictures[kept]) for one in pictures[8:16] for kept in (7, 16)]
    assert min(made) > 1  # nothing of the clip that is held


def test_a_blend_turns_one_clip_into_another(http, numbered, tmp_path):
    """Frames outside of the span stay; within it the second clip's influence grows as the curve says."""
    white = clips.make(tmp_path / "white.mp4", torch.ones(20, 64, 64, 3), fps=8)
    blend = json.dumps({"seconds": 1, "curve": [[0, 0], [0.5, 0.1], [1, 1]]})
    video, pictures = sent(http, "/videos/edits", {"blend": blend}, ("video", numbered), ("blend_video", white))
    assert (video["operation"], video["warnings"], len(pictures)) == ("blend", [], 31)
    assert video["blend"] == {"video": None, "seconds": 1, "curve": [[0, 0], [0.5, 0.1], [1, 1]]}
    assert numbers(pictures[:12]) == [*range(12)] and pictures[20:].min() > 250
    same = {"blend": json.dumps({"seconds": 60, "curve": "0:0, 1:1"})}
    video, pictures = sent(http, "/videos/edits", same, ("video", numbered), ("blend_video", numbered))
    assert "60 s is more than they or" in video["warnings"][0]
    assert numbers(pictures[:4]) == [*range(4)] and numbers(pictures[-3:]) == [17, 18, 19]


@pytest.mark.parametrize(
    "fields,code,param,words",
    [
        ({"recut": "0 - 1, somewhere"}, "invalid_value", "recut", "'somewhere' is not a piece"),
        ({"recut": [{"start": 9}]}, "invalid_value", "recut", "holds no frame"),
        ({"recut": "gap 1"}, "invalid_value", "recut", "no piece of the clip"),
        ({"recut": "0 - 1, gap 30, 1 -"}, "invalid_value", "recut", "the model makes up to 25 at once"),
        ({"recut": [{"gap": -1}]}, "invalid_value", None, "greater than 0"),
        ({"blend": {"seconds": 1}}, "missing_required_parameter", "blend", "The second clip is missing"),
        ({"blend": {"video": "video_" + "0" * 32}}, "not_found", None, "No video or character found"),
        ({"blend": {"video": "ITSELF", "curve": "0:0, x"}}, "invalid_value", "blend", "'x' is not time:influence"),
        ({"blend": {"video": "PICTURE"}}, "invalid_value", "blend", "must be a clip"),
    ],
)
def test_what_cannot_be_cut_or_blended_is_said(http, finished, fields, code, param, words):
    text = json.dumps(FAST | fields | {"video": {"id": finished.id}})
    text = text.replace("ITSELF", finished.id).replace("PICTURE", data_url(png()))
    answer = http.post("/videos/edits", content=text, headers={"Content-Type": "application/json"})
    status, said, at = error(answer)
    assert (status < 500, said) == (True, code) and words in answer.json()["error"]["message"], answer.text
    assert param is None or at == param


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"storyboard": "0s [image 2]: x", "storyboard_images": [data_url(png())]}, "has 1 in 'storyboard_images'"),
        ({"storyboard": [{"time": 0, "prompt": "", "cut": True}]}, "neither words nor an image"),
        ({"storyboard": [{"time": 0, "prompt": "x", "image": "video_" + "0" * 32}]}, "No video or character"),
        ({"storyboard": [{"time": "soon", "prompt": "x"}]}, "storyboard.list.0.time: Input should be a valid number"),
        ({"storyboard": "0s: x", "storyboard_images": [data_url(png())] * 101}, "at most 100"),
    ],
)
def test_images_that_a_board_cannot_have_are_said(http, fields, words):
    answer = http.post("/videos", json=FAST | fields)
    assert answer.status_code in (400, 404) and words in answer.json()["error"]["message"], answer.text


def test_an_edit_changes_as_much_as_its_strength(http, finished):
    source = frames(http.get(f"/videos/{finished.id}/content").content)
    body = FAST | {"num_inference_steps": 8, "prompt": "a blue circle moving left", "video": {"id": finished.id}}
    far = [distance(made(http, "/videos/edits", body | {"strength": strength})[1], source) for strength in (0.1, 0.95)]
    assert far[0] < far[1] / 2


@pytest.fixture(scope="module")
def lora(server) -> str:
    """A LoRA of the pocket model in a subfolder of models/loras."""
    state = {key: weight for file in POCKET.glob("*.safetensors") for key, weight in load_file(file).items()}
    modules = [name for name in adapters.matrices(state) if ".attn1.to_" in name]
    adapters.file(server.base / "models" / "loras" / "api" / "film.safetensors", adapters.adapter(state, modules))
    return "api/film.safetensors"


def test_a_lora_is_seen(http, lora):
    """Requests name it in each client's form, by its name or by a path on another machine."""
    plain, asked = (
        made(http, "/videos", FAST)[1],
        [
            {"lora": lora},
            {"lora": "film", "lora_scale": 1},
            {"lora": json.dumps({"name": "any", "path": "/their/loras/film.safetensors", "scale": 1.0})},
            {"loras": [{"path": "D:\\loras\\film.safetensors"}]},
        ],
    )
    videos = [made(http, "/videos", FAST | each) for each in asked]
    assert distance(plain, videos[0][1]) > 5
    assert all((video["lora"], video["lora_scale"], video["warnings"]) == (lora, 1, []) for video, _ in videos)
    assert all(distance(pictures, videos[0][1]) < 0.1 for _, pictures in videos)
    weak, pictures = made(http, "/videos", FAST | {"lora": {"lora_name": lora, "lora_scale": 0}})
    assert weak["lora_scale"] == 0 and distance(pictures, plain) < 0.1


def test_a_lora_that_is_not_there(http, lora):
    answer = http.post("/videos", json=FAST | {"lora": {"path": "owner/repository"}})
    assert error(answer) == (404, "lora_not_found", "lora") and lora in answer.text


def test_more_than_one_lora_is_named(http, lora):
    video = http.post("/videos", json=FAST | {"lora": [lora, {"name": lora, "scale": 0.5}]}).json()
    assert video["warnings"] == ["Only the first 'lora' is used, 2 were sent."]
    alone = http.post("/videos", json=FAST | {"lora_scale": 0.5}).json()
    assert alone["warnings"] == ["'lora_scale' has no effect without 'lora'."]


def test_a_control_clip_is_for_models_that_follow_one(http, clip, server):
    with clip.open("rb") as file:
        answer = http.post("/videos", data=FAST | {"control_type": "edge"}, files={"control_reference": file})
    assert error(answer)[:2] == (422, "model_cannot") and "not trained to follow a control clip" in answer.text
    folder = tiny_cogvideox.folder(server.base / "models" / "diffusers" / "tiny-api-control", "Fun 5B Control")
    asked = {"prompt": "x", "model": f"diffusers/{folder.name}", "size": "64x48", "num_frames": "9", "steps": "2"}
    asked |= {"seed": "1"}
    with clip.open("rb") as file:
        controlled, pictures = made_by(http, asked | {"control_type": "edge"}, {"control_reference": file})
    _, alone = made_by(http, asked, {})
    assert controlled["warnings"] == ["'control_type' has no effect: the control clip is used as it is."]
    assert len(pictures) == len(alone) == 9 and distance(pictures, alone) > 0.2


def made_by(http, fields: dict, files: dict) -> tuple[dict, np.ndarray]:
    video = wait(http, http.post("/videos", data=fields, files=files).json())
    assert video["status"] == "completed", video
    return video, frames(http.get(f"/videos/{video['id']}/content").content)


def test_high_quality_is_a_second_pass_at_twice_the_size(http, server):
    """LTX Video 0.9.8 and an upscaler with tiny random weights, through the saved graphs."""
    name = tiny.folder(server.base / "models" / "diffusers" / "tiny-ltxv-2b-0.9.8-distilled", "0.9.5").name
    body = {"prompt": "x", "model": f"diffusers/{name}", "size": "150x90", "num_frames": 25, "seed": 1}
    high = body | {"quality": "high"}
    upscalers = server.base / "models" / "latent_upscale_models"
    upscalers.mkdir(exist_ok=True)
    tiny_upscaler.single_file(upscalers / "ltxv-temporal-upscaler-0.9.8.safetensors", "temporal")
    (upscalers / "z-damaged.safetensors").write_bytes(b"nothing")

    def feature() -> dict:
        return http.get(f"/models/diffusers/{name}").json()["features"]["high_quality"]

    assert (feature()["supported"], feature()["needs"]) == (False, "ltx-spatial-upscaler-0.9.8")
    refused = http.post("/videos", json=high)
    assert error(refused)[:2] == (422, "model_cannot") and "run.py models get ltx-spatial-upscaler" in refused.text
    tiny_upscaler.single_file(upscalers / "ltxv-spatial-upscaler-0.9.8.safetensors", "spatial")
    assert feature() == {"supported": True, "note": None}
    video, pictures = made(http, "/videos", high)
    assert (video["size"], video["quality"], video["warnings"]) == ("128x64", "high", [])
    assert pictures.shape == (25, 64, 128, 3)
    plain, others = made(http, "/videos", body | {"size": "128x64", "quality": "standard"})
    assert "quality" not in plain and plain["warnings"] == [] and distance(pictures, others) > 0.1
    both_ends = {"input_reference": data_url(png("red")), "last_frame": data_url(png("blue")), "loop": "short"}
    ends, _ = made(http, "/videos", high | both_ends)
    board, cards = made(http, "/videos", high | {"storyboard": "0s: a fox\n0.5s cut: the sea", "n": 1})
    assert ends["warnings"] == board["warnings"] == [] and cards.shape == pictures.shape
    assert (ends["operation"], board["operation"]) == ("generate", "storyboard")


def test_high_quality_with_sound(http, server):
    """LTX-2 distilled: the second pass is over picture and sound."""
    models = server.base / "models"
    name = tiny_ltx2.folder(models / "diffusers" / "tiny-ltx-2-19b-distilled", "2.0").name
    (models / "latent_upscale_models").mkdir(exist_ok=True)
    tiny_upscaler.single_file(models / "latent_upscale_models" / "ltx-2-spatial-upscaler-x2.safetensors", "ltx-2 x2")
    body = {"prompt": "x", "model": f"diffusers/{name}", "size": "64x128", "num_frames": 9, "seed": 1}
    video = wait(http, http.post("/videos", json=body | {"quality": "high"}).json())
    assert (video["status"], video["size"], video["quality"]) == ("completed", "64x128", "high"), video
    with av.open(io.BytesIO(http.get(f"/videos/{video['id']}/content").content)) as container:
        assert container.streams.audio and container.streams.video[0].width == 64


def test_high_quality_where_it_cannot_be(http, finished):
    refused = http.post("/videos", json=FAST | {"quality": "high"})
    assert error(refused)[:2] == (422, "model_cannot") and "no second pass at twice the size" in refused.text
    assert error(http.post("/videos", json=FAST | {"quality": "best"})) == (400, "invalid_value", "quality")
    video = http.post("/videos/edits", json=FAST | {"quality": "high", "video": {"id": finished.id}}).json()
    assert video["warnings"] == ["'quality' is not used by the graph edit."]


def test_frame_interpolation_where_comfyui_has_none_is_named(http, server):
    if server.client.object_info({interpolation.NODE}):
        pytest.skip("this ComfyUI has FrameInterpolate")
    video = http.post("/videos", json=FAST | {"enable_frame_interpolation": True, "frame_interpolation_exp": 2}).json()
    (warning,) = video["warnings"]
    assert warning.startswith("'enable_frame_interpolation' is not used: this ComfyUI has no node FrameInterpolate")


def test_frame_interpolation_stands_before_saving(server):
    """The request uses the input names of ComfyUI's own nodes."""
    graph = {"1": {"class_type": "CreateVideo", "inputs": {}}, "2": {"class_type": "SaveVideo", "inputs": {}}}
    graph["2"]["inputs"] = {"video": ["1", 0], "filename_prefix": "x"}
    after = interpolation.interpolated(graph, "rife.safetensors", 2, 8.0)
    names = server.client.object_info({"GetVideoComponents", "CreateVideo"})
    for key, node in after.items():
        if key not in graph and node["class_type"] in names:
            wanted = names[node["class_type"]]["input"]
            assert node["inputs"].keys() <= {*wanted["required"], *wanted.get("optional", {})}
    chain, key = [], "2"
    while key != "1":
        chain.append(after[key]["class_type"])
        inputs = after[key]["inputs"]
        key = next(inputs[name][0] for name in ("video", "images") if name in inputs)
    assert chain == ["SaveVideo", "CreateVideo", interpolation.NODE, "GetVideoComponents"]
    inputs = {name: value for node in after.values() for name, value in node["inputs"].items()}
    assert (inputs["multiplier"], inputs["fps"], inputs["model_name"]) == (4, 32.0, "rife.safetensors")
    assert graph["2"]["inputs"]["video"] == ["1", 0]


def test_a_style_is_seen(http):
    plain, styled = (made(http, "/videos", FAST | {"style": style})[1] for style in ("none", "film noir"))
    assert distance(plain, styled) > 0.5


@pytest.mark.parametrize("board", [[], "[]", ""])
def test_a_board_without_cards_is_none(http, board):
    made = http.post("/videos", json=FAST | {"storyboard": board}).json()
    assert (made["operation"], made["storyboard"]) == ("generate", None)


def test_a_card_after_the_end(http):
    body = FAST | {"storyboard": [{"time": 5, "prompt": "x"}], "seconds": 2}
    assert error(http.post("/videos", json=body)) == (400, "invalid_value", "storyboard")
    body = FAST | {"storyboard": "words without a time"}
    assert error(http.post("/videos", json=body)) == (400, "invalid_value", "storyboard")


@pytest.fixture
def phone(tmp_path):
    """A clip with a rotation tag, as from a phone: stored as 96 x 32, shown as 32 x 96, white above black."""
    seen = torch.zeros(20, 96, 32, 3)
    seen[:, :48] = 1
    stored = torch.rot90(seen, 1, (1, 2)).contiguous()
    return clips.turned(clips.make(tmp_path / "phone.mp4", stored, fps=8), 1)


def test_a_phone_s_clip_is_edited_as_it_is_seen(http, phone):
    video, pixels = made(http, "/videos/edits", FAST | {"prompt": "the same", "strength": 0.1}, phone)
    assert video["size"] == "32x96" and pixels.shape[1:3] == (96, 32)
    assert pixels[0, :40].mean() > 200 and pixels[0, 56:].mean() < 55


def test_a_character_from_a_phone_s_clip_stands_upright(http, phone, server):
    with phone.open("rb") as file:
        character = http.post("/videos/characters", data={"name": "tall"}, files={"video": file}).json()
    (folder,) = server.base.rglob(character["id"])
    (picture,) = folder.glob("*.png")
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L")).astype(float)
    assert pixels.shape == (96, 32) and pixels[:40].mean() > 200 and pixels[56:].mean() < 55
