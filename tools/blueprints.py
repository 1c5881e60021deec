"""Writes ComfyUI's subgraph blueprints, subgraphs/*.json, from the list here: python tools/blueprints.py

A blueprint is one node for a whole editing tool: the node that makes the holes, Sample Video, Join Shot. ComfyUI
offers each in its node library and node search, beside the nodes. The files follow the nodes' definitions: a node that
gains an input has it here, too, after this tool ran again. They are ASCII: ComfyUI 0.3.75 reads them in the system's
encoding.
"""

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfyui
import pack
from console import guard, say
from translations import schemas

FOLDER = comfyui.ROOT / "subgraphs"
SAMPLE = "AtelierSampleVideo"
JOIN = (SAMPLE, "AtelierJoinShot")
SAMPLED = ("seed", "steps", "guidance")
"""The widgets of Sample Video that stand on the subgraph's own node."""
WIDTH, GAP, ROW, WIDGET_ROW, TITLE = 320, 80, 20, 32, 30
BORDER = {"inputs": -10, "outputs": -20}
"""The ids of a subgraph's own ends, as ComfyUI has them."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Blueprint:
    """nodes: in a row, each after the one before; what an earlier one gives under an input's name, or of the type
    LATENT, is connected. widgets: of the first node, on the subgraph's own node. words: what people search for."""

    name: str
    description: str
    words: tuple[str, ...]
    nodes: tuple[str, ...]
    widgets: tuple[str, ...]


BLUEPRINTS = (
    Blueprint(
        "Image to Shot",
        "Image to video: puts an image or a piece of video into a shot and samples the rest.",
        ("image to video", "i2v", "animate image", "first frame", "last frame"),
        ("AtelierPlaceFrames", SAMPLE),
        ("position", "time", "strength"),
    ),
    Blueprint(
        "Keyframes to Shot",
        "Puts several images into a shot, each at its own time, and samples what lies between them.",
        ("keyframes", "first last frame", "in-between", "interpolate images"),
        ("AtelierPlaceKeyframes", SAMPLE),
        ("times", "strengths"),
    ),
    Blueprint(
        "Storyboard a Shot",
        "Samples a shot from cards on a time line, whose prompts follow one another or cut.",
        ("storyboard", "prompt schedule", "timeline", "scenes", "long video"),
        ("AtelierStoryboard", SAMPLE),
        ("board", "negative_prompt", "style", "flow"),
    ),
    Blueprint(
        "Extend a Clip",
        "Continues a clip at its end or before its start, and joins the new part to it.",
        ("extend video", "continue video", "longer video", "outpaint time"),
        ("AtelierExtendShot", *JOIN),
        ("direction", "seconds", "overlap"),
    ),
    Blueprint(
        "Loop a Clip",
        "Makes a seamless loop: the end of the clip is sampled again so that it flows into its beginning.",
        ("loop video", "seamless loop", "cinemagraph"),
        ("AtelierLoopShot", *JOIN),
        ("seam", "overlap"),
    ),
    Blueprint(
        "Blend Two Clips",
        "Turns one clip into another over a span that is sampled.",
        ("blend videos", "transition", "morph", "crossfade"),
        ("AtelierBlendShots", *JOIN),
        ("seconds", "curve", "points", "overlap"),
    ),
    Blueprint(
        "Re-cut a Clip",
        "Cuts a clip into pieces, drops or reorders them, and samples the gaps between them.",
        ("recut video", "cut video", "rearrange", "fill gap"),
        ("AtelierRecutShot", *JOIN),
        ("cuts", "overlap"),
    ),
    Blueprint(
        "Remix a Clip",
        "Video to video: samples a clip again with a new prompt, as far from it as you choose.",
        ("video to video", "v2v", "restyle video", "remix"),
        ("AtelierRemixShot", SAMPLE),
        ("strength", "custom"),
    ),
    Blueprint(
        "Inpaint a Clip",
        "Samples the part of a clip again where a mask is white, in space and time.",
        ("inpaint video", "video mask", "replace object", "remove object"),
        ("AtelierInpaintShot", SAMPLE),
        ("strength",),
    ),
    Blueprint(
        "Upscale a Clip",
        "Doubles a clip's size, or its frames, as a latent, and adds detail in a second, short pass.",
        ("upscale video", "two stage", "high resolution", "super resolution"),
        ("AtelierUpscaleVideoLatent", SAMPLE),
        ("adain", "tone_map"),
    ),
)


def is_widget(slot: Any) -> bool:
    return hasattr(slot, "default")


def sockets_then_widgets(node: Any) -> list[Any]:
    """A node's inputs in the front end's order: sockets, then widgets; in each, what may be absent last."""
    return sorted(node.inputs, key=lambda slot: (is_widget(slot), bool(slot.optional)))


def value(slot: Any) -> Any:
    """What a widget holds at first."""
    return slot.options[0] if slot.io_type == "COMBO" and slot.default is None else slot.default


def values(node: Any) -> list[Any]:
    found = []
    for slot in filter(is_widget, sockets_then_widgets(node)):
        found += [value(slot), *(["randomize"] if getattr(slot, "control_after_generate", None) else [])]
    return found


def socket(slot: Any, link: int | None) -> Json:
    """An input as a saved graph has it."""
    widget = {"widget": {"name": slot.id}} if is_widget(slot) else {}
    return {"name": slot.id, "type": slot.io_type, **widget, "link": link}


class Wiring:
    """A subgraph's nodes, links and ends, built node by node."""

    def __init__(self, blueprint: Blueprint, nodes: dict[str, Any]) -> None:
        self.given: list[Json] = []  # the subgraph's inputs
        self.slots: list[Any] = []  # and the slots that they are of
        self.nodes: list[Json] = []
        self.links: list[Json] = []
        self.blueprint = blueprint
        made: dict[str, tuple[int, int, str]] = {}  # name or type of what a node before gives -> node, slot, type
        for kind in blueprint.nodes:
            self._add(nodes[kind], made)
        self.result = made["LATENT"]

    def _add(self, node: Any, made: dict[str, tuple[int, int, str]]) -> None:
        id, slots = len(self.nodes) + 1, sockets_then_widgets(node)
        inputs: list[Json] = []
        for slot in slots:
            source = made.get(slot.id) or (made.get("LATENT") if slot.id == "latent" else None)
            if source is None and (not is_widget(slot) or slot.id in self._shown(node)):
                source = self._end(slot)
            link = self.link(source, id, len(inputs)) if source else None
            inputs.append(socket(slot, link))
        outputs = [{"name": out.display_name or out.io_type, "type": out.io_type, "links": []} for out in node.outputs]
        height = ROW * max(sum("widget" not in each for each in inputs), len(outputs))
        height += WIDGET_ROW * sum("widget" in each for each in inputs) + ROW
        self.nodes.append(
            {
                "id": id,
                "type": node.node_id,
                "pos": [(id - 1) * (WIDTH + GAP), 0],
                "size": [WIDTH, height],
                "flags": {},
                "order": id - 1,
                "mode": 0,
                "inputs": inputs,
                "outputs": outputs,
                "properties": {"Node name for S&R": node.node_id, "cnr_id": "atelier"},
                "widgets_values": values(node),
            }
        )
        for place, out in enumerate(node.outputs):
            made[out.io_type if out.io_type == "LATENT" else out.display_name or out.io_type] = (id, place, out.io_type)

    def _shown(self, node: Any) -> tuple[str, ...]:
        return SAMPLED if node.node_id == SAMPLE else self.blueprint.widgets

    def _end(self, slot: Any) -> tuple[int, int, str]:
        """The subgraph's input of a slot's name; a new one if there is none."""
        names = [each["name"] for each in self.given]
        if slot.id not in names:
            self.given.append({"name": slot.id, "type": slot.io_type, "linkIds": []})
            self.slots.append(slot)
            return BORDER["inputs"], len(names), slot.io_type
        return BORDER["inputs"], names.index(slot.id), slot.io_type

    def link(self, source: tuple[int, int, str], target: int, slot: int) -> int:
        id, (origin, place, kind) = len(self.links) + 1, source
        self.links.append(
            {
                "id": id,
                "origin_id": origin,
                "origin_slot": place,
                "target_id": target,
                "target_slot": slot,
                "type": kind,
            }
        )
        if origin == BORDER["inputs"]:
            self.given[place]["linkIds"].append(id)
        else:
            self.nodes[origin - 1]["outputs"][place]["links"].append(id)
        return id


def subgraph(wiring: Wiring, id: str) -> Json:
    """The definition of a blueprint's subgraph."""
    blueprint = wiring.blueprint
    origin, place, kind = wiring.result
    out = wiring.link((origin, place, kind), BORDER["outputs"], 0)
    right = len(wiring.nodes) * (WIDTH + GAP)
    for number, each in enumerate(wiring.given):
        each.update(id=str(uuid.uuid5(uuid.UUID(id), each["name"])), pos=[-GAP - 20, (number + 1) * ROW])
    result = {"id": str(uuid.uuid5(uuid.UUID(id), "result")), "name": kind, "type": kind, "linkIds": [out]}
    return {
        "id": id,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(wiring.nodes), "lastLinkId": out, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "description": blueprint.description,
        "category": "Atelier",
        "inputNode": {"id": BORDER["inputs"], "bounding": [-GAP - 140, 0, 140, (len(wiring.given) + 2) * ROW]},
        "outputNode": {"id": BORDER["outputs"], "bounding": [right, 0, 120, 3 * ROW]},
        "inputs": wiring.given,
        "outputs": [result | {"pos": [right + 20, ROW]}],
        "widgets": [],
        "nodes": wiring.nodes,
        "groups": [],
        "links": wiring.links,
        "extra": {},
    }


def content(blueprint: Blueprint, nodes: dict[str, Any]) -> Json:
    """The file of a blueprint: a graph of one node, and the subgraph that it stands for."""
    id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"atelier:{blueprint.name}"))
    wiring = Wiring(blueprint, nodes)
    definition = subgraph(wiring, id)
    inputs = [socket(slot, None) for slot in wiring.slots]
    widgets = [slot for slot in wiring.slots if is_widget(slot)]
    own = {
        "id": 1,
        "type": id,
        "pos": [0, 0],
        "size": [WIDTH, ROW * (len(inputs) - len(widgets)) + WIDGET_ROW * len(widgets) + ROW],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": "LATENT", "type": "LATENT", "links": None}],
        "title": blueprint.name,
        "properties": {"proxyWidgets": [["-1", slot.id] for slot in widgets], "cnr_id": "atelier"},
        "widgets_values": [value(slot) for slot in widgets],
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [own],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {
            "BlueprintDescription": blueprint.description,
            "BlueprintSearchAliases": ["atelier", *blueprint.words],
        },
    }


def written(blueprint: Blueprint, nodes: dict[str, Any]) -> str:
    return json.dumps(content(blueprint, nodes), indent=1) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="atelier-blueprints-") as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        nodes = {node.node_id: node for node in schemas()}
    FOLDER.mkdir(exist_ok=True)
    for blueprint in BLUEPRINTS:
        (FOLDER / f"{blueprint.name}.json").write_text(written(blueprint, nodes), encoding="ascii")
        say(f"Written: subgraphs/{blueprint.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
