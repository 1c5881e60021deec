"""Replaces the wrappers' nodes in one graph. `wrappers/` says what each class is, `roles.py` what each role becomes.

An old node's outputs are translated when something needs them: a sampler asks for its latent, the latent for its size.
The first new node of an old one takes its id, place, title and colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .graph import BYPASSED, MUTED, Graph, Node, NodeId, Socket, Source, short
from .layout import Canvas, beside
from .names import Installed
from .report import Report
from .targets import node_of
from .widgets import dealt, widget_names
from .wires import WIRES, Wires
from .wrappers import MODEL_TYPES, RULES, VAE_TYPES
from .wrappers.rules import Rule

EMPTY_LATENTS = {"EmptyLatentImage", "EmptySD3LatentImage"}
"""Nodes from which the wrappers took a size."""
MOST_DEEP = 100
"""Old nodes that wait for each other while one is translated. More are a loop, or a graph to break the converter."""

Results = dict[str, Source]
"""What an old node gives (model, clip, vae, positive, negative, latent, image, width, height) -> its source now."""


@dataclass
class Old:
    """A wrapper's node: its rule, and its values and links under the names that the translation uses."""

    node: Node
    rule: Rule
    values: dict[str, Any]
    control: str

    @classmethod
    def of(cls, node: Node) -> Old:
        rule = RULES[node.type]
        read = dealt(rule.versions, node.saved)
        return cls(node, rule, read.values, read.control or "fixed")

    def get(self, name: str) -> Any:
        """A value that was typed; None if there is none."""
        return next(
            (self.values[own] for own, to in self.rule.takes.items() if to == name and own in self.values), None
        )

    def source(self, name: str) -> Source | None:
        """The link of an input."""
        return next((s.source for s in self.node.inputs if s.source and self.rule.takes.get(s.name) == name), None)

    def unknown(self) -> list[str]:
        """The inputs with a value or link that no version of the class has: the graph was written by hand."""
        rule, saved = self.rule, self.node.saved
        known = {*rule.takes, *rule.lost, *rule.unneeded, *widget_names(rule.versions)}
        linked = {socket.name for socket in self.node.inputs if socket.source}
        return sorted({*linked, *(saved if isinstance(saved, dict) else ())} - known)

    def given(self, name: str) -> Any:
        """The link of an input, else its value."""
        return self.source(name) or self.get(name)


def is_clip_loader(node: Node) -> bool:
    """CLIPLoader, DualCLIPLoader, and those of packs for GGUF files and several devices."""
    return "CLIPLoader" in node.type


Roles = dict[str, Callable[["Translation", Old], Results]]


class Translation:
    """One graph while its old nodes are replaced."""

    def __init__(self, graph: Graph, installed: Installed, report: Report, roles: Roles, first_id: int) -> None:
        self.graph, self.installed, self.report, self.roles = graph, installed, report, roles
        self.wires = Wires(graph)
        self.old = {key: Old.of(node) for key, node in graph.nodes.items() if node.type in RULES}
        self.next_id = first_id
        self.created: list[tuple[Node, Node, str]] = []
        self.taken: set[NodeId] = set()
        self.placed: dict[Any, Any] = {}
        """What is made once: by a key of whoever made it."""
        self._results: dict[NodeId, Results] = {}
        self._busy: list[NodeId] = []
        self.pairs: dict[NodeId, tuple[Old, Old]] = {}
        self.loaders: dict[NodeId, Old] = {}
        self._relate()

    def of_role(self, role: str) -> list[Old]:
        return [old for old in self.old.values() if old.rule.role == role]

    def origin(self, source: Source | None) -> Old | Node | None:
        """The old node or kept node that a value comes from, through wires."""
        node, _ = self.wires.origin(source)
        return self.old.get(node.id, node) if node is not None else None

    def old_origin(self, source: Source | None, role: str) -> Old | None:
        found = self.origin(source)
        return found if isinstance(found, Old) and found.rule.role == role else None

    def loader_of(self, source: Source | None) -> Old | None:
        """The model loader behind a model or a pipeline, which samplers pass on."""
        for _ in range(MOST_DEEP):
            found = self.origin(source)
            if not isinstance(found, Old):
                return None
            if found.rule.role == "load":
                return found
            source = found.source("model")
        return None

    def _relate(self) -> None:
        """Pair prompts as samplers use them, and give each CLIP and VAE loader the model loader that it serves."""
        loaders = self.of_role("load")
        for sampler in self.of_role("sample"):
            loader = self.loader_of(sampler.source("model"))
            texts = [self.old_origin(sampler.source(name), "text") for name in ("positive", "negative", "texts")]
            if texts[0] and texts[1] and texts[0] is not texts[1]:
                self.pairs.setdefault(texts[0].node.id, (texts[0], texts[1]))
                self.pairs.setdefault(texts[1].node.id, (texts[0], texts[1]))
            frames = [self.old_origin(sampler.source(name), "frames") for name in ("known", "latent")]
            for user in filter(None, (*texts, *frames, sampler)):
                self._serve(user, loader)
        for decode in self.of_role("decode"):
            made = self.old_origin(decode.source("latent"), "sample")
            self._serve(decode, self.loader_of(made.source("model")) if made else None)
        for user in self.old.values():
            self._serve(user, loaders[0] if loaders else None)

    def _serve(self, user: Old, loader: Old | None) -> None:
        """Note that the CLIP and VAE loaders of `user` belong to `loader`, unless they belong to one already."""
        if loader is None:
            return
        clip = self.clip_loader(user)
        vae = self.old_origin(user.source("vae"), "vae")
        for node in filter(None, (clip, vae.node if vae else None)):
            self.loaders.setdefault(node.id, loader)

    def clip_loader(self, text: Old) -> Node | None:
        """The kept CLIPLoader of a text encoder, through encoders that pass their CLIP on."""
        found: Old | Node | None = text
        for _ in range(MOST_DEEP):
            if not isinstance(found, Old):
                return found if found is not None and is_clip_loader(found) else None
            found = self.origin(found.source("clip"))
        return None

    def new(self, kind: str, inputs: dict[str, Any], anchor: Old, place: str = "below", own: bool = False) -> Node:
        """A new node. `own`: it takes the id, place and looks of the old node, if no other has them yet."""
        own = own and anchor.node.id not in self.taken
        if own:
            key = anchor.node.id
            self.taken.add(key)
        else:
            key = str(self.next_id) if self.graph.prompt else self.next_id
            self.next_id += 1
        node = node_of(kind, key, inputs, self.graph.prompt, anchor.control, anchor.node.title if own else "")
        if own:
            node.width = max(node.width, min(anchor.node.width, 600.0))
            looks = {name: anchor.node.raw[name] for name in ("color", "bgcolor", "flags") if name in anchor.node.raw}
            node.raw |= {} if self.graph.prompt else looks
            node.mode = anchor.node.mode
        self.created.append((node, anchor.node, "" if own else place))
        return node

    def passing(self, node: Node, old: Old) -> Node:
        """A node in a chain: the old one was optional, so muted or bypassed means that the chain goes past it."""
        node.mode = BYPASSED if old.node.mode in (MUTED, BYPASSED) else 0
        return node

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self.placed:
            self.placed[key] = make()
        return self.placed[key]

    def results(self, old: Old) -> Results:
        """What an old node gives, translated. {} in a loop."""
        key = old.node.id
        if key in self._results:
            return self._results[key]
        if key in self._busy or len(self._busy) >= MOST_DEEP:
            self.report.lose(old.node, "it waits for its own output, or for too many others")
            return {}
        self._busy.append(key)
        try:
            self._results[key] = self.roles[old.rule.role](self, old) if old.rule.role in self.roles else {}
        finally:
            self._busy.remove(key)
        return self._results[key]

    def output(self, source: Source | None) -> Source | None:
        """Where a value comes from now. Links from kept nodes stay; None if the value no longer exists."""
        if source is None or source.node not in self.old:
            return source
        old = self.old[source.node]
        return self.results(old).get(_meaning(old, source.slot) or "")

    def model_of(self, source: Source | None) -> Source | None:
        loader = self.loader_of(source) if source and source.node in self.old else None
        return self.results(loader).get("model") if loader else self.output(source)

    def clip_of(self, old: Old) -> Source | None:
        source = old.source("clip")
        if source is None:
            loader = self.loader_of(old.source("model"))
            return self.results(loader).get("clip") if loader else None
        if source.node not in self.old and self.graph.nodes[source.node].type in WIRES:
            return source
        clip = self.clip_loader(old)
        loader = self.loaders.get(clip.id) if clip is not None else None
        return self.results(loader).get("clip") if loader else self.output(source)

    def vae_of(self, old: Old) -> Source | None:
        if source := old.source("vae"):
            return self.output(source)
        loader = self.loader_of(old.source("model"))
        return self.results(loader).get("vae") if loader else None

    def run(self) -> None:
        """Translate every old node, then rewire and tidy the rest."""
        used = self.graph.consumers()
        for old in self._in_order():
            role = old.rule.role
            if not role:
                self.report.lose(old.node, f"left out, because {old.rule.why}")
            elif role in ("load", "sample", "decode", "resize", "text", "blend", "vae"):
                self.results(old)
            elif old.node.id not in used:
                self.report.lose(old.node, "left out, because it is connected to nothing")
            self._tell_losses(old)
        self._rewire_kept()
        self._replace()
        self._tidy(used)

    def _in_order(self) -> list[Old]:
        """The old nodes, each after those that it needs, so that no translation waits for a long chain."""
        order: list[Old] = []
        state: dict[NodeId, int] = {}
        for start in self.old.values():
            stack = [start]
            while stack:
                old = stack[-1]
                if state.get(old.node.id, 0) == 0:
                    state[old.node.id] = 1
                    before = (self.origin(socket.source) for socket in old.node.inputs)
                    stack += [b for b in before if isinstance(b, Old) and not state.get(b.node.id)]
                    continue
                stack.pop()
                if state[old.node.id] == 1:
                    state[old.node.id] = 2
                    order.append(old)
        return order

    def _tell_losses(self, old: Old) -> None:
        for name in old.unknown() if old.rule.role else ():
            self.report.lose(old.node, f"its input {short(name)} is lost: no version of {old.node.type} has it")
        for name, (harmless, words) in old.rule.lost.items():
            socket = old.node.socket(name)
            linked = self.origin(socket.source) if socket is not None else None
            if isinstance(linked, Old) and not linked.rule.role:
                continue  # that node has a line of its own
            if linked is not None:
                self.report.lose(old.node, f"{name} is lost: {words}")
            elif name in old.values:
                expected = harmless(old.values) if callable(harmless) else harmless
                if old.values[name] not in (expected if isinstance(expected, tuple) else (expected,)):
                    self.report.lose(old.node, f"{name} {short(old.values[name])} is lost: {words}")

    def _rewire_kept(self) -> None:
        for node in [node for key, node in self.graph.nodes.items() if key not in self.old]:
            for socket in node.inputs:
                if socket.source is None:
                    continue
                if node.type in WIRES and (loader := self.loaders.get(socket.source.node)):
                    if socket.source.node not in self.old:  # a CLIP on its way to an old text encoder
                        socket.source = self.results(loader).get("clip")
                if socket.source is not None and socket.source.node in self.old:
                    was, socket.source = self.old[socket.source.node], self.output(socket.source)
                    if socket.source is None:
                        self._broken(node, was)
            if node.type in WIRES:
                _retype(node)

    def _broken(self, node: Node, was: Old) -> None:
        """A kept node lost an input: it could only fail, so it is muted."""
        if node.type not in WIRES and node.type and not self.graph.prompt and node.mode == 0:
            node.mode = MUTED
            self.report.lose(node, f"muted, because its input came from {was.node.type}")

    def _replace(self) -> None:
        own = {node.id: node for node, _, _ in self.created}
        nodes: dict[NodeId, Node] = {}
        for key, node in self.graph.nodes.items():
            if key not in self.old:
                nodes[key] = node
            elif key in own:
                nodes[key] = own[key]
        self.graph.nodes = nodes | own

    def _tidy(self, used: dict[NodeId, list[tuple[Node, Socket]]]) -> None:
        """Remove what only old nodes used, and wires that begin or end nowhere now; then find room for the new."""
        wired = {id(socket) for sockets in used.values() for _, socket in sockets}
        for _ in range(2):
            still = self.graph.consumers()
            for key, node in list(self.graph.nodes.items()):
                if is_clip_loader(node) or node.type in EMPTY_LATENTS:
                    gone = key in used and key not in still
                elif node.type in WIRES and node.type != "GetNode":
                    gone = any(s.source is None and id(s) in wired for s in node.inputs)
                    gone = gone or (node.type != "SetNode" and key in used and key not in still)
                else:
                    gone = False
                if gone:
                    del self.graph.nodes[key]
        self._unlink_dangling()
        self._arrange()

    def _unlink_dangling(self) -> None:
        for node in self.graph.nodes.values():
            for socket in node.inputs:
                if socket.source is not None and socket.source.node not in self.graph.nodes:
                    socket.source = None

    def _arrange(self) -> None:
        created = [entry for entry in self.created if entry[0].id in self.graph.nodes]
        kept = [node for node in self.graph.nodes.values() if not node.new and node.type]
        canvas = Canvas(kept)
        for node, anchor, place in sorted(created, key=lambda entry: bool(entry[2])):
            if place:
                beside(node, next((n for n, a, p in created if a is anchor and not p), anchor), place)
            else:
                node.x, node.y = anchor.x, anchor.y
            canvas.put(node)


def _meaning(old: Old, slot: int) -> str | None:
    """The name in `Results` of an output, by its type as saved, else by the newest version of the class."""
    outputs = [kind for _, kind in old.node.outputs]
    if slot >= len(outputs):
        piped = old.rule.piped and old.node.socket("pipeline") is not None
        outputs = list(old.rule.piped if piped else old.rule.outputs)
    slot = min(slot, len(outputs) - 1)
    if slot < 0:
        return None
    again = outputs[:slot].count(outputs[slot])
    kind = outputs[slot]
    if kind in MODEL_TYPES:
        return "model"
    if kind == "VAE" or kind in VAE_TYPES:
        return "vae"
    alike = {"CONDITIONING": ("positive", "negative"), "INT": ("width", "height"), "CLIP": ("clip",)}
    choices = alike.get(kind, (kind.lower(),))
    return choices[min(again, len(choices) - 1)]


def _retype(wire: Node) -> None:
    """A wire that carried a wrapper's own type carries ComfyUI's now."""

    def now(text: str) -> str:
        return "MODEL" if text in MODEL_TYPES else "VAE" if text in VAE_TYPES else text

    for socket in wire.inputs:
        socket.name, socket.type = now(socket.name), now(socket.type)
    wire.outputs = [(now(name), now(kind)) for name, kind in wire.outputs]
