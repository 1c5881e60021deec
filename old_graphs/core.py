"""Graphs of ComfyUI's own nodes and of Lightricks': their loaders become Load Video Model, where that is asked for.

These graphs run on core and are never changed unasked. What the swap brings: this pack's memory modes, formats and
checks, in the same graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import names
from .graph import Graph, Node, NodeId, Source
from .layout import Canvas
from .names import Installed
from .report import Report
from .targets import node_of

LTX2 = re.compile(r"ltx-?v?-?2(?![\d.]*b)|ltx-?2\.|ltxav|ltx_2")
"""Names of LTX-2 and later, which this pack does not load."""
DTYPES = {"fp8_e4m3fn": "float8_e4m3fn", "fp8_e4m3fn_fast": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
FPS = 25.0
"""LTX Video's frame rate, for graphs that do not say theirs."""


@dataclass(frozen=True)
class Loader:
    """A loader's widget with the file, its folder, and what its outputs are in Load Video Model."""

    file: str
    folder: str
    outputs: dict[int, int]


MODELS = {
    "CheckpointLoaderSimple": Loader("ckpt_name", "checkpoints", {0: 0, 1: 1, 2: 2}),
    "UNETLoader": Loader("unet_name", "diffusion_models", {0: 0}),
    "LTXVLoader": Loader("ckpt_name", "checkpoints", {0: 0, 1: 2}),
}
CLIPS = {"CLIPLoader": Loader("clip_name", "text_encoders", {0: 1}),
         "LTXVCLIPModelLoader": Loader("clip_path", "text_encoders", {0: 1})}  # fmt: skip
VAES = {"VAELoader": Loader("vae_name", "vae", {0: 2})}
GUIDES = {"LTXVAddGuide", "LTXVImgToVideo", "LTXVCropGuides"}


def offered(graph: Graph) -> str:
    """The file of the model that Load Video Model could load in this graph; "" if there is none, or several."""
    loaders = _models(graph)
    return _file(loaders[0]) if len(loaders) == 1 else ""


def _models(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes.values() if node.type in MODELS and _known(_file(node))]


def _known(name: str) -> bool:
    return bool(names.identity(name)[0]) and not LTX2.search(names.plain(name))


def _file(node: Node) -> str:
    name = node.value({**MODELS, **CLIPS, **VAES}[node.type].file, 0)
    return name if isinstance(name, str) else ""


def swap(graph: Graph, installed: Installed, report: Report, guides: bool) -> bool:
    """Put one Load Video Model in place of the loaders, in place. Returns whether anything was changed.

    guides: LTXVAddGuide and LTXVImgToVideo become Place Frames, too.
    """
    loaders = _models(graph)
    if len(loaders) != 1:
        if loaders:
            report.remark(f"The graph has {len(loaders)} video models. Swap their loaders by hand")
        return False
    loader = loaders[0]
    family = names.identity(_file(loader))[0]
    users = graph.consumers()
    parts = [loader, *_parts(graph, CLIPS, users), *(v for v in _parts(graph, VAES, users) if _fits(v, family))]
    _replace(graph, loader, parts, installed, report)
    if guides:
        _Guides(graph, report).replace()
    elif any(node.type in GUIDES for node in graph.nodes.values()):
        report.remark("Pictures are still placed by core's LTXV nodes. With --guides, Place Frames does it")
    return True


def _parts(graph: Graph, kinds: dict[str, Loader], users: dict) -> list[Node]:
    """The loaders of a kind, if there is one alone: of several it is not known which belongs to the model."""
    found = [node for node in graph.nodes.values() if node.type in kinds and node.id in users]
    return found if len(found) == 1 else []


def _fits(vae: Node, family: str) -> bool:
    return names.identity(_file(vae))[0] in ("", family)


def _replace(graph: Graph, loader: Node, parts: list[Node], installed: Installed, report: Report) -> None:
    file = _file(loader)
    choice, there = names.model(file, installed)
    if not there:
        choice = f"{MODELS[loader.type].folder}/{file}"
        report.remark(f"The model {file} is not installed")
    lists = {"text_encoder": (CLIPS, installed.text_encoders), "vae": (VAES, installed.vaes)}
    inputs: dict[str, Any] = {"model": choice}
    inputs["weight_dtype"] = DTYPES.get(loader.value("weight_dtype", 1))
    for name, (kinds, choices) in lists.items():
        part = next((part for part in parts if part.type in kinds), None)
        inputs[name] = names.file(_file(part), choices) if part else None
    new = node_of("AtelierLoadVideoModel", loader.id, inputs, graph.prompt, title=loader.title)
    outputs = {part.id: {**MODELS, **CLIPS, **VAES}[part.type].outputs for part in parts}
    for node in graph.nodes.values():
        for socket in node.inputs:
            if socket.source is not None and socket.source.node in outputs:
                slot = outputs[socket.source.node].get(socket.source.slot)
                socket.source = None if slot is None else Source(loader.id, slot)
    for part in parts[1:]:
        del graph.nodes[part.id]
    new.x, new.y, new.mode = loader.x, loader.y, loader.mode
    new.width = max(new.width, loader.width)
    graph.nodes[loader.id] = new
    Canvas(node for node in graph.nodes.values() if node is not new).put(new)


class _Guides:
    """Core's nodes that put pictures into LTX Video's latent, replaced by Place Frames."""

    def __init__(self, graph: Graph, report: Report) -> None:
        self.graph, self.report = graph, report
        self.next_id = graph.next_number()
        self.moved: dict[Source, Source | None] = {}
        self.placed: dict[Source, Source] = {}
        """Latents that come from Place Frames now, which has the old node's id."""

    def replace(self) -> None:
        made: dict[str, Callable[[Node], Node | None]] = {
            "LTXVAddGuide": self._guide,
            "LTXVImgToVideo": self._image,
            "LTXVCropGuides": lambda node: None,
        }
        canvas_nodes: list[Node] = []
        for key, node in list(self.graph.nodes.items()):
            if node.type not in made or (node.type == "LTXVAddGuide" and self._time(node) is None):
                continue
            placed = made[node.type](node)
            ends = {name: self._source(node, name) for name in ("positive", "negative", "latent")}
            self.moved |= {Source(key, slot): end for slot, end in enumerate(ends.values())}
            if placed is not None:
                self.placed[Source(key, 2)] = Source(placed.id, 0)
            del self.graph.nodes[key]
            if placed is not None:
                canvas_nodes.append(placed)
                self.graph.nodes[placed.id] = placed
        for node in self.graph.nodes.values():
            for socket in node.inputs:
                socket.source = self._followed(socket.source)
        canvas = Canvas(node for node in self.graph.nodes.values() if not node.new)
        for node in canvas_nodes:
            canvas.put(node)
        if not self.graph.prompt:
            self.graph.raw["last_node_id"] = self.next_id - 1

    def _followed(self, source: Source | None) -> Source | None:
        for _ in range(len(self.moved) + 1):
            if source in self.placed or source not in self.moved:
                return self.placed.get(source, source)
            source = self.moved[source]
        return None

    @staticmethod
    def _source(node: Node, name: str) -> Source | None:
        socket = node.socket(name)
        return socket.source if socket else None

    def _given(self, node: Node, name: str, place: int) -> Any:
        return self._source(node, name) or node.value(name, place)

    def _new(self, kind: str, inputs: dict[str, Any], at: Node, key: NodeId | None = None) -> Node:
        if key is None:
            key = str(self.next_id) if self.graph.prompt else self.next_id
            self.next_id += 1
        node = node_of(kind, key, inputs, self.graph.prompt)
        node.x, node.y, node.mode = at.x, at.y, at.mode
        return node

    def _time(self, node: Node) -> tuple[str, float] | None:
        """(position, seconds) of a guide; None if its frame comes through a link."""
        frame = self._given(node, "frame_idx", 0)
        if isinstance(frame, Source) or type(frame) is not int:
            self.report.remark(f"LTXVAddGuide (node {node.id}) stays: its frame_idx is linked")
            return None
        if frame in (0, -1):
            return ("first" if frame == 0 else "last"), 0.0
        if frame < 0:
            self.report.remark(f"LTXVAddGuide (node {node.id}) stays: it counts from the end")
            return None
        rates = [self._given(n, "frame_rate", 0) for n in self.graph.nodes.values() if n.type == "LTXVConditioning"]
        rate = next((r for r in rates if isinstance(r, int | float) and r > 0), FPS)
        return "at time", round(frame / rate, 3)

    def _guide(self, node: Node) -> Node:
        position, time = self._time(node) or ("first", 0.0)
        inputs = {name: self._source(node, name) for name in ("vae", "latent")}
        inputs |= {"images": self._source(node, "image"), "strength": self._given(node, "strength", 1)}
        return self._new("AtelierPlaceFrames", {**inputs, "position": position, "time": time}, node, node.id)

    def _image(self, node: Node) -> Node:
        """Image to video: an empty shot of the node's size with the picture as its first frame."""
        places = {"width": 0, "height": 1, "length": 2, "batch_size": 3, "strength": 4}
        given = {name: self._given(node, name, place) for name, place in places.items()}
        model = next((Source(n.id, 0) for n in self.graph.nodes.values() if n.type == "AtelierLoadVideoModel"), None)
        size = {"width": given["width"], "height": given["height"], "frames": given["length"]}
        empty = self._new("AtelierEmptyVideoLatent", {"model": model, **size, "batch_size": given["batch_size"]}, node)
        self.graph.nodes[empty.id] = empty
        empty.x -= empty.width + 40
        inputs = {
            "vae": self._source(node, "vae"),
            "latent": Source(empty.id, 0),
            "images": self._source(node, "image"),
        }
        return self._new("AtelierPlaceFrames", {**inputs, "strength": given["strength"]}, node, node.id)
