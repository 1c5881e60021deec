"""Reads a diffusers script, as model cards have it, into a graph with the same settings. The script is never run."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from . import names
from .convert import Conversion
from .graph import Graph, Node, Source, UnreadableGraph, short, write_editor
from .names import Installed
from .report import Report
from .targets import node_of

MOST = 256 << 10
"""Bytes of a script."""
PIPELINES = {
    *("CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline"),
    *("CogVideoXFunControlPipeline", "MochiPipeline", "DiffusionPipeline"),
    *("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline", "PyramidDiTForVideoGeneration"),
}
DTYPES = {"bfloat16": "bfloat16", "bf16": "bfloat16", "float16": "float16", "fp16": "float16", "float32": "float32"}
CALLS = {"__call__", "generate", "generate_i2v"}
SETTINGS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "num_frames": "frames",
    "num_inference_steps": "steps",
    "video_num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "video_guidance_scale": "guidance",
    "strength": "denoise",
    "num_videos_per_prompt": "batch_size",
    "frame_rate": "fps",
    "temp": "temp",
    "image": "image",
    "input_image": "image",
    "video": "video",
    "control_video": "control",
    "conditions": "conditions",
    "generator": "seed",
}
"""Arguments of the pipelines -> settings here."""
UNNEEDED = {"output_type", "return_dict", "save_memory", "callback_on_step_end", "device", "use_dynamic_cfg"}
LOADERS = {"load_image": "image", "open": "image", "load_video": "video"}


@dataclass
class Script:
    """What a script sets, by the names that SETTINGS has. `loras`: (file or repository, strength)."""

    model: str = ""
    pipeline: str = ""
    dtype: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    loras: list[tuple[str, float]] = field(default_factory=list)
    fps: float | None = None
    called: bool = False


@dataclass(frozen=True)
class _File:
    """A picture or clip that the script loads."""

    kind: str
    path: str
    frame: int = 0


class _Reader(ast.NodeVisitor):
    """Walks a script from top to bottom and keeps what it assigns and calls."""

    def __init__(self, report: Report) -> None:
        self.report, self.script = report, Script()
        self.known: dict[str, Any] = {}
        self.pipelines: set[str] = set()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=False) if several else [(target, node.value)]
            for name, value in pairs:
                if isinstance(name, ast.Name) and self._is_pipeline(value):
                    self.pipelines.add(name.id)
                elif isinstance(name, ast.Name):
                    self.known[name.id] = self.value(value)

    def _is_pipeline(self, node: ast.expr) -> bool:
        """Whether this makes a pipeline, also with calls behind it: `X.from_pretrained(...).to("cuda")`."""
        while (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Call)
        ):
            node = node.func.value
        return isinstance(node, ast.Call) and _dotted(node.func).split(".")[0] in PIPELINES

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        owner, _, method = _dotted(node.func).rpartition(".")
        if _dotted(node.func).split(".")[0] in PIPELINES:
            self._load(node)
        elif _dotted(node.func) in self.pipelines or (owner in self.pipelines and method in CALLS):
            self._run(node)
        elif owner in self.pipelines and method == "load_lora_weights":
            self._lora(node)
        elif owner in self.pipelines and method in ("set_adapters", "fuse_lora"):
            self._weigh(node)
        elif method == "export_to_video" or _dotted(node.func) == "export_to_video":
            self.script.fps = _number(self._argument(node, "fps", 2)) or self.script.fps

    def _argument(self, node: ast.Call, name: str, place: int) -> Any:
        given = next((k.value for k in node.keywords if k.arg == name), None)
        if given is None and place < len(node.args):
            given = node.args[place]
        return self.value(given) if given is not None else None

    def _load(self, node: ast.Call) -> None:
        script = self.script
        if script.model:
            self.report.remark(f"The script loads several pipelines; the graph has {short(script.model)}")
            return
        script.pipeline = _dotted(node.func).split(".")[0]
        model = next((self._argument(node, name, 0) for name in ("pretrained_model_name_or_path", "model_path")), None)
        script.model = model if isinstance(model, str) else ""
        variant = self._argument(node, "model_variant", 99)
        script.model += f" {variant}" if isinstance(variant, str) else ""
        words = [
            self._argument(node, "torch_dtype", 99),
            self._argument(node, "dtype", 99),
            self._argument(node, "", 1),
        ]
        script.dtype = next((DTYPES[word] for word in words if isinstance(word, str) and word in DTYPES), None)

    def _run(self, node: ast.Call) -> None:
        if self.script.called:
            self.report.remark("The script runs the pipeline several times; the graph is its first run")
            return
        self.script.called = True
        arguments = [("prompt", arg) for arg in node.args[:1]] + [(k.arg or "**", k.value) for k in node.keywords]
        for name, expression in arguments:
            if name in UNNEEDED:
                continue
            value = self.value(expression)
            if name not in SETTINGS:
                self._lose(
                    f"{name} {short(value, 40)}" if value is not None else name, "Sample Video has no such setting"
                )
            elif value is None and not (isinstance(expression, ast.Constant)):
                self._lose(name, f"'{short(ast.unparse(expression), 60)}' is only known when the script runs")
            elif SETTINGS[name] not in self.script.settings or name.startswith("video_"):
                self.script.settings[SETTINGS[name]] = value

    def _lora(self, node: ast.Call) -> None:
        parts = [
            self._argument(node, "pretrained_model_name_or_path_or_dict", 0),
            self._argument(node, "weight_name", 99),
        ]
        name = next((part for part in reversed(parts) if isinstance(part, str)), None)
        if name is None:
            self._lose("load_lora_weights", "its file is only known when the script runs")
        else:
            self.script.loras.append((name, 1.0))

    def _weigh(self, node: ast.Call) -> None:
        weights = next((self._argument(node, name, 1) for name in ("adapter_weights", "lora_scale")
                        if any(k.arg == name for k in node.keywords) or len(node.args) > 1), None)  # fmt: skip
        given = weights if isinstance(weights, list) else [weights] * len(self.script.loras)
        if len(given) == len(self.script.loras) and all(isinstance(weight, int | float) for weight in given):
            self.script.loras = [
                (name, float(weight)) for (name, _), weight in zip(self.script.loras, given, strict=True)
            ]

    def _lose(self, what: str, why: str) -> None:
        line = f"{what} is lost: {why}."
        if line not in self.report.lost:
            self.report.lost.append(line)

    def value(self, node: ast.expr) -> Any:
        """A value that can be read without running anything; None for others."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            return node.attr  # torch.bfloat16
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = _number(self.value(node.operand))
            return -number if number is not None else None
        if isinstance(node, ast.BinOp):
            return _computed(node.op, self.value(node.left), self.value(node.right))
        return self._called(node) if isinstance(node, ast.Call) else None

    def _called(self, node: ast.Call) -> Any:
        name = _dotted(node.func).rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        if name in LOADERS and (path := self._argument(node, "image", 0) or self._argument(node, "video", 0)):
            return _File(LOADERS[name], path) if isinstance(path, str) else None
        if name == "manual_seed":
            return self._argument(node, "seed", 0)
        if name == "LTXVideoCondition":
            picture, frame = self._argument(node, "image", 0), self._argument(node, "frame_index", 2)
            clip = self._argument(node, "video", 1)
            given = picture if isinstance(picture, _File) else clip
            return _File(given.kind, given.path, frame or 0) if isinstance(given, _File) else None
        if name in ("resize", "convert", "strip", "load_video", "dedent") and isinstance(node.func, ast.Attribute):
            return self.value(node.func.value)
        return None


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression; "" if it is not made of names."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 else None


def _computed(kind: ast.operator, left: Any, right: Any) -> Any:
    """Sums and products of numbers, and joined texts."""
    if isinstance(kind, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return left + right if len(left) + len(right) < MOST else None
    a, b = _number(left), _number(right)
    if a is None or b is None:
        return None
    if isinstance(kind, ast.Add | ast.Sub):
        return a + b if isinstance(kind, ast.Add) else a - b
    if isinstance(kind, ast.Mult):
        return a * b
    if isinstance(kind, ast.Div | ast.FloorDiv) and b:
        return a / b if isinstance(kind, ast.Div) else a // b
    return None


def is_script(name: str) -> bool:
    return name.lower().endswith(".py")


def from_script(content: bytes, installed: Installed) -> Conversion:
    """A graph of what a script sets. Raises UnreadableGraph if it is not Python, or has none of the pipelines."""
    if len(content) > MOST:
        raise UnreadableGraph(f"The script has {len(content) >> 10} KB; up to {MOST >> 10} KB are read.")
    report = Report()
    reader = _Reader(report)
    try:
        reader.visit(ast.parse(content))
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if getattr(error, "lineno", None) else ""
        raise UnreadableGraph(f"This is not a Python script that can be read{line}.") from None
    except (RecursionError, MemoryError):
        raise UnreadableGraph("The script is nested too deeply to be read.") from None
    if not reader.script.model or not reader.script.called:
        raise UnreadableGraph(
            "The script does not load and run a pipeline that is known here: " + ", ".join(sorted(PIPELINES)) + "."
        )
    graph = _Drawing(reader.script, installed, report).draw()
    return Conversion(graph, [reader.script.pipeline], report.lost, report.remarks)


class _Drawing:
    """The graph of a script, node by node in columns."""

    def __init__(self, script: Script, installed: Installed, report: Report) -> None:
        self.script, self.installed, self.report = script, installed, report
        content = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "version": 0.4}
        self.graph = Graph({}, {**content, "config": {}, "extra": {}})
        self.bottom: dict[int, float] = {}

    def put(self, column: int, kind: str, **inputs: Any) -> Source:
        key = len(self.graph.nodes) + 1
        node: Node = node_of(kind, key, inputs, prompt=False)
        node.x, node.y = column * 450.0, self.bottom.get(column, 0.0)
        self.bottom[column] = node.y + node.height + 60
        self.graph.nodes[key] = node
        self.graph.raw["last_node_id"] = key
        return Source(key, 0)

    def draw(self) -> dict[str, Any]:
        script, settings = self.script, self.script.settings
        choice, there = names.model(script.model, self.installed)
        if not there:
            self.report.remark(f"The model {short(script.model)} is not installed; it is named {short(choice)}")
        load = self.put(0, "AtelierLoadVideoModel", model=choice, weight_dtype=script.dtype)
        model, vae = load, Source(load.node, 2)
        for name, strength in script.loras:
            file = names.file(name, self.installed.loras)
            if file is None:
                self.report.remark(f"The LoRA {short(name)} is not installed: put it into models/loras")
            model = self.put(0, "AtelierLoadVideoLoRA", model=model, lora=file or name, strength=strength)
        words = {key: settings.get(key) for key in ("prompt", "negative_prompt")}
        words = {key: text[0] if isinstance(text, list) and text else text for key, text in words.items()}
        words = {key: text if isinstance(text, str) else "" for key, text in words.items()}
        text = self.put(1, "AtelierEncodeVideoPrompt", clip=Source(load.node, 1), **words)
        ends = {"positive": text, "negative": Source(text.node, 1)}
        latent = self._latent(model, vae)
        if isinstance(clip := settings.get("control"), _File):
            film = self.put(1, "LoadVideo", file=clip.path)
            control = self.put(2, "AtelierControlVideo", **ends, vae=vae, latent=latent, video=film)
            ends = {"positive": control, "negative": Source(control.node, 1)}
        sampled = self.put(3, "AtelierSampleVideo", model=model, **ends, latent=latent, **self._sampling())
        fps = script.fps or _number(settings.get("fps"))
        video = self.put(4, "AtelierDecodeVideo", vae=vae, latent=sampled, fps=float(fps or 0))
        self.put(5, "SaveVideo", video=video)
        if note := self.report.note([self.script.pipeline]):
            self._note(note)
        write_editor(self.graph)
        return self.graph.raw

    def _sampling(self) -> dict[str, Any]:
        settings = self.script.settings
        steps = settings.get("steps")
        steps = steps[0] if isinstance(steps, list) and steps else steps
        return {
            "seed": int(_number(settings.get("seed")) or 0) % 2**64,
            "steps": int(_number(steps) or 0),
            "guidance": float(_number(settings.get("guidance")) or 0),
            "denoise": min(max(float(_number(settings.get("denoise")) or 1), 0.01), 1.0),
        }

    def _latent(self, model: Source, vae: Source) -> Source:
        """Encoded footage, or an empty shot with the script's pictures in it."""
        settings = self.script.settings
        footage = settings.get("video")
        if isinstance(footage, _File):
            film = self.put(1, "LoadVideo", file=footage.path)
            self.report.remark(f"Choose the clip {short(footage.path)} in Load Video")
            return self.put(2, "AtelierEncodeVideo", vae=vae, video=film, **self._size())
        frames = int(_number(settings.get("frames")) or 0)
        if temp := _number(settings.get("temp")):
            frames = 8 * (int(temp) - 1) + 1
        fps, batch = _number(settings.get("fps")) or 0, int(_number(settings.get("batch_size")) or 1)
        shot = {"model": model, **self._size(), "frames": frames, "fps": float(fps), "batch_size": batch}
        latent = self.put(2, "AtelierEmptyVideoLatent", **shot)
        conditions = settings.get("conditions")
        pictures = [settings.get("image"), *(conditions if isinstance(conditions, list) else [conditions])]
        for picture in pictures:
            if isinstance(picture, _File) and picture.kind == "image":
                latent = self._placed(vae, latent, picture, float(fps or self.script.fps or 24))
        return latent

    def _placed(self, vae: Source, latent: Source, picture: _File, fps: float) -> Source:
        self.report.remark(f"Choose the picture {short(picture.path)} in Load Image")
        image = self.put(1, "LoadImage", image=picture.path.rpartition("/")[2])
        time = (
            {"position": "at time", "time": round(picture.frame / fps, 3)} if picture.frame else {"position": "first"}
        )
        return self.put(2, "AtelierPlaceFrames", vae=vae, latent=latent, images=image, **time)

    def _size(self) -> dict[str, int]:
        return {side: int(_number(self.script.settings.get(side)) or 0) for side in ("width", "height")}

    def _note(self, text: str) -> None:
        key = len(self.graph.nodes) + 1
        lines = text.count("\n") + len(text) // 60
        note = Node(key, "Note", new=True, x=0.0, y=-(lines * 22.0 + 120), width=460, height=lines * 22.0 + 60)
        note.raw = {
            "id": key,
            "type": "Note",
            "mode": 0,
            "properties": {},
            "widgets_values": [text],
            "title": "The script",
        }
        self.graph.nodes[key] = note
        self.graph.raw["last_node_id"] = key
