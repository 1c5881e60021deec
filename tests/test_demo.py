"""The main job: the saved graph through a real ComfyUI gives an MP4 and a contact sheet."""

import av
import demo
import pytest
from console import Problem
from PIL import Image


def test_prompt_to_video_and_contact_sheet(server, workflow, tmp_path):
    options = demo.parser().parse_args(["a blue square moving right", "--model", "pocket", "--seed", "3"])
    first = demo.make_video(server.client, workflow("text_to_video"), demo.choices_from(options), tmp_path)
    assert first.video == tmp_path / "a-blue-square-moving-right.mp4"
    with av.open(str(first.video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) > 8 and frames[0].std() > 5  # something is to be seen
    assert abs(frames[0].astype(float) - frames[-1]).mean() > 1  # and it moves
    with Image.open(first.sheet) as sheet:
        assert sheet.width > 600 and sheet.height > 300

    second = demo.make_video(server.client, workflow("text_to_video"), demo.choices_from(options), tmp_path)
    assert second.video == tmp_path / "a-blue-square-moving-right-2.mp4"  # nothing is overwritten


def test_a_model_that_is_not_there_is_named(server, workflow, tmp_path):
    choices = [("AtelierLoadVideoModel", "model", "nowhere.safetensors")]
    with pytest.raises(Problem, match="nowhere.safetensors"):
        demo.make_video(server.client, workflow("text_to_video"), choices, tmp_path)
    assert list(tmp_path.iterdir()) == []
