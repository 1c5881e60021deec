"""Sample Video on the farm: its file of values, the graph that is sent, and latents joined to those of one machine.

Workers of this process run the real Sample Piece. No Ray.
"""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import comfy.model_management as memory
import pytest
import torch
from atelier.api.graphs import on_workers
from atelier.api.graphs.farm_queue import FarmQueue
from atelier.farm import parcel
from atelier.farm.jobs import Farm, Lost, Refused
from atelier.farm.pieces import NotMade, upstream
from atelier.farm.spool import Spool
from atelier.farm.waiting import Job
from atelier.models.bridge import sampling
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.contract.guides import Guide
from atelier.models.library import folders
from atelier.models.loading import load as loading
from atelier.models.loading.identify import open_model
from atelier.models.timeline.openings import openings_of
from atelier.models.timeline.spans import CUT, SPAN
from atelier.nodes.farm import SamplePiece
from comfy.nested_tensor import NestedTensor
from comfy_execution.utils import CurrentNodeContext
from farm_workers import SUCCESS, Machine, until
from safetensors.torch import save_file
from shipped_pocket import CHANNELS

FPS, LENGTH, CUT_AT = 8.0, 6, 3
"""Frames a second; latent frames of the clip; the one behind its cut."""
GRAPH = {
    "1": {"class_type": "AtelierLoadVideoModel", "inputs": {"model": "pocket (built in)"}},
    "2": {"class_type": "AtelierSpeedUpVideo", "inputs": {"model": ["1", 0], "speed": "off"}, "is_changed": object()},
    "3": {"class_type": "AtelierEncodeVideoPrompt", "inputs": {"clip": ["1", 1]}},
    "5": {"class_type": "AtelierSampleVideo", "inputs": {"model": ["2", 0], "positive": ["3", 0]}},
}


class Worker(Machine):
    """A worker that runs what it is sent, with the model at hand."""

    def __init__(self, name: str, model, *plan, at_once: bool = True) -> None:
        super().__init__(name, *plan, at_once=at_once)
        self.model, self.graphs = model, []

    async def begin(self, job: Job) -> None:
        await super().begin(job)
        self.graphs.append(job.prompt)
        if self.held[job.id] is SUCCESS:
            values = job.prompt[on_workers.PIECE]["inputs"]
            assert job.files == (values["values"],)
            SamplePiece.execute([self.model], [values["values"]], [values["index"]])


@pytest.fixture(scope="module")
def pocket():
    folder = open_model(folders.model_path(folders.POCKET))
    return loading.load_model(folder), loading.load_clip(folder)


@pytest.fixture
def given(pocket) -> dict:
    """What Sample Video samples: two scenes."""
    model, clip = pocket
    grid, latent = model.model.variant.grid, sampling.empty_latent((1, CHANNELS, LENGTH, 4, 4), FPS)
    ends = (0.0, grid.frames(CUT_AT) / FPS, grid.frames(LENGTH) / FPS)
    positive = []
    for number, words in enumerate(("a red circle moving left", "a blue square moving up")):
        options = {SPAN: ends[number : number + 2], CUT: True}
        positive += sampling.with_options(encode_text(clip, words)[0], options)
    texts = {"positive": positive, "negative": encode_text(clip, "")[0]}
    texts = {name: sampling.with_frame_rate(text, latent) for name, text in texts.items()}
    return {"latent": latent, **texts, "seed": 3, "sigmas": torch.linspace(1, 0, 3), "guidance": 2.0}


@pytest.fixture
def on_farm(tmp_path, monkeypatch, pocket):
    """Runs Sample Video on a farm: on_farm(given, *workers) -> its LATENT or error, and its notices."""
    monkeypatch.setattr(memory, "interrupt_processing", False)

    def run(given: dict, *workers: Machine, then=None):
        return asyncio.run(ran(given, workers, then))

    async def ran(given: dict, workers, then):
        queue, notices = FarmQueue(Farm(Spool(tmp_path / "jobs")), None, ""), []
        server = SimpleNamespace(loop=asyncio.get_running_loop())
        monkeypatch.setattr(on_workers.PromptServer, "instance", server, raising=False)
        monkeypatch.setattr(on_workers, "_farm", lambda: asyncio.sleep(0, queue))
        for worker in workers:
            queue.farm.join(worker)
        await until(lambda: all(seat.state == "idle" for seat in queue.farm.seats.values()))
        hidden = SimpleNamespace(dynprompt=SimpleNamespace(get_node=GRAPH.get), unique_id="5")
        try:
            with CurrentNodeContext("graph", "5", 0):
                call = asyncio.ensure_future(on_workers.sample(pocket[0], given, hidden, notices.append))
            if then is not None:
                await then(queue)
            made = (await asyncio.gather(call, return_exceptions=True))[0]
            farm = queue.farm
            await until(lambda: not (farm.records or farm.running or farm.waiting.jobs))
            await until(lambda: not any(worker.held for worker in workers if worker.name in farm.seats))
            assert not on_workers._nodes
            return made, notices
        finally:
            await queue.farm.close()

    yield run
    for kind in ("temp", "output"):
        folder = on_workers.path_of(f"{parcel.FOLDER} [{kind}]")
        assert not folder.is_dir() or not list(folder.iterdir()), "nothing stays behind"


def test_values_come_back_as_they_were(tmp_path):
    tensor = torch.randn(2, 3, generator=torch.manual_seed(1))
    values = {
        **{"a": [1, 2.5, None, True, "x"], ("b", 2): (tensor, tensor[:, 1:]), 3: {"c": tensor.to(torch.bfloat16)}},
        **{"streams": NestedTensor([tensor, tensor[:1]]), "guides": (Guide(tensor, 8, 0.5),), "mask": tensor > 0},
    }
    parcel.write(tmp_path / "x" / "values.safetensors", values)
    back = parcel.read(tmp_path / "x" / "values.safetensors")
    assert list(back) == list(values) and back["a"] == values["a"] and type(back["a"][3]) is bool
    assert all(torch.equal(*pair) for pair in zip(back["b", 2], values["b", 2], strict=True))
    assert torch.equal(back[3]["c"], values[3]["c"]) and back["mask"].dtype == torch.bool
    assert back["streams"].is_nested and torch.equal(back["streams"].unbind()[1], tensor[:1])
    (guide,) = back["guides"]
    assert (guide.frame, guide.strength, guide.held) == (8, 0.5, False) and torch.equal(guide.latents, tensor)
    with pytest.raises(parcel.Unsendable, match="holds a SimpleNamespace"):
        parcel.write(tmp_path / "y.safetensors", {"control": [SimpleNamespace()]})


@pytest.mark.parametrize("record", [["farm.parcel", "write"], ["farm.parcel", "Path"], ["farm.parcel", "nothing"]])
def test_a_file_names_nothing_but_the_packs_records(tmp_path, record):
    described = {"record": record, "fields": []}
    save_file({}, tmp_path / "bad.safetensors", metadata={parcel.VALUES: json.dumps(described)})
    with pytest.raises(ValueError, match="no record of this pack"):
        parcel.read(tmp_path / "bad.safetensors")


def test_the_nodes_before_the_model_are_sent_and_no_others():
    assert list(upstream(GRAPH.get, "2")) == ["2", "1"]
    assert upstream(GRAPH.get, "2")["2"] == {
        "class_type": "AtelierSpeedUpVideo",
        "inputs": {"model": ["1", 0], "speed": "off"},
    }
    with pytest.raises(NotMade, match="cannot be sent"):
        upstream({"1": {"class_type": "X", "inputs": {"image": torch.zeros(1)}}}.get, "1")


def test_two_workers_make_the_latents_of_one_machine(pocket, given, on_farm):
    workers = [Worker(name, pocket[0]) for name in ("w1", "w2")]
    (made, notices), whole = on_farm(given, *workers), sampling.sample(pocket[0], **given)
    assert torch.equal(made["samples"], whole["samples"]) and made["frame_rate"] == FPS
    openings = [openings_of(each["samples"]) for each in (made, whole)]
    assert [list(each) for each in openings] == [[CUT_AT]] * 2 and torch.equal(*(each[CUT_AT] for each in openings))
    assert sum(len(worker.begun) for worker in workers) == 2 and notices == ["on the farm: 2 of 2 pieces"]
    assert list(workers[0].graphs[0]) == ["2", "1", on_workers.PIECE]


@pytest.mark.parametrize(
    "plans,begun,notice",
    [
        (([Lost("it burnt")], []), 2, "on the farm: 2 of 2 pieces"),
        (
            ([Refused("no such model")] * 2, [Refused("no such node")] * 2),
            0,
            "is sampled here: No worker can make it. ",
        ),
        ((), 0, "sampled here: no worker of the farm is free"),
    ],
    ids=["lost", "refused", "none"],
)
def test_what_no_worker_makes_is_sampled_here(pocket, given, on_farm, plans, begun, notice):
    workers = [Worker(f"w{number}", pocket[0], *plan) for number, plan in enumerate(plans)]
    made, notices = on_farm(given, *workers)
    assert torch.equal(made["samples"], sampling.sample(pocket[0], **given)["samples"])
    assert sum(len(worker.begun) for worker in workers) == begun and any(notice in told for told in notices), notices


def test_a_value_that_cannot_be_sent(pocket, given, on_farm):
    given["positive"] = sampling.with_options(given["positive"], {"other": SimpleNamespace()})
    made, notices = on_farm(given, Worker("w", pocket[0]))
    assert len(made["samples"]) == 1 and "piece 1 of 2 is sampled here: its conditioning or latent holds a Simp" in str(
        notices
    )


def test_an_interrupt_cancels_the_pieces(given, on_farm):
    worker = Machine("w", at_once=False)

    async def interrupt(queue) -> None:
        while not worker.held:
            await asyncio.sleep(0.01)
        memory.interrupt_current_processing()

    made, notices = on_farm(given, worker, then=interrupt)
    assert isinstance(made, memory.InterruptProcessingException) and notices == []
    assert len(worker.begun) == 1 and not worker.held


def test_a_worker_that_leaves_and_none_is_left(pocket, given, on_farm):
    worker = Machine("w", at_once=False)

    async def leave(queue) -> None:
        while not worker.held:
            await asyncio.sleep(0.01)
        queue.farm.leave("w", "its machine has left the farm")

    made, notices = on_farm(given, worker, then=leave)
    assert torch.equal(made["samples"], sampling.sample(pocket[0], **given)["samples"])
    assert "on the farm: 0 of 2 pieces" in notices
