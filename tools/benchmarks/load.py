"""Measures loading 1 to 2 GB checkpoints of four families: peak memory over their size, time over diffusers' loader.

Everything runs in fresh processes (this module, run as a script). Both loaders map the file, which is in the system's
cache, so every page of every weight is touched before the memory is read and the clock stops. A mapped page that was
touched counts as memory. The clock is CPU time, which other programs disturb little.
"""

import argparse
import gc
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfyui
import pack
import torch
from console import Problem

from benchmarks.figure import Figure, interleaved, ratios, seconds_of
from benchmarks.layout import genmo_network, in_genmo_layout, in_original_layout, in_sat_layout

DTYPE = "bfloat16"
ROUNDS = 11
PREFIX = "model.diffusion_model."
KINDS = {
    "file": "model.safetensors",
    "folder": "model",
    "fp8": "fp8.safetensors",
    "scaled": "fp8_scaled.safetensors",
    "gguf": "model.gguf",
}


@dataclass(frozen=True)
class Subject:
    """A network of published width and fewer layers, in the published file layouts.

    original(weights): the weights under the names of the authors' files. file_by_diffusers: whether diffusers can load
    such a file; it cannot for CogVideoX, and loads Mochi's with 48 layers only.
    """

    name: str
    network: str
    pipeline: str
    config: dict[str, Any]
    original: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
    kinds: tuple[str, ...]
    file_by_diffusers: bool = True

    def loaders(self, kind: str) -> tuple[str, ...]:
        known = kind in ("folder", "gguf") or kind == "file" and self.file_by_diffusers
        return ("ours", "diffusers") if known else ("ours",)


SUBJECTS = {
    "LTX Video": Subject(
        "load",
        "LTXVideoTransformer3DModel",
        "LTXPipeline",
        {"num_layers": 14, "num_attention_heads": 32, "attention_head_dim": 64, "cross_attention_dim": 2048},
        in_original_layout,
        ("file", "folder", "gguf"),
    ),
    "CogVideoX": Subject(
        "load, CogVideoX",
        "CogVideoXTransformer3DModel",
        "CogVideoXPipeline",
        {"num_layers": 4, "num_attention_heads": 48, "use_rotary_positional_embeddings": True},
        in_sat_layout,
        ("file", "folder", "fp8", "scaled"),
        file_by_diffusers=False,
    ),
    "LTX-2": Subject(
        "load, LTX-2",
        "LTX2VideoTransformer3DModel",
        "LTX2Pipeline",
        {"num_layers": 1},
        lambda weights: weights | _connectors(),
        ("file",),
        file_by_diffusers=False,
    ),
    "Mochi 1": Subject(
        "load, Mochi",
        "MochiTransformer3DModel",
        "MochiPipeline",
        {"num_layers": 2},
        lambda weights: in_genmo_layout(weights, genmo_network(2)),
        ("file", "folder", "fp8", "scaled"),
        file_by_diffusers=False,
    ),
}


def _connectors() -> dict[str, torch.Tensor]:
    """Weights of LTX-2's two text connectors at their published size, without which its network does not load."""
    from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LTX2ConnectorTransformer1d(30, 128, 2).state_dict().items()}
    return {
        f"{stream}_connector.{name}": torch.full(shape, 0.02, dtype=getattr(torch, DTYPE))
        for stream in ("video", "audio")
        for name, shape in shapes.items()
    }


def load() -> Iterator[Figure]:
    """Memory and time for a single file in its authors' layout, a diffusers folder in shards, fp8 and GGUF (Q8_0)."""
    for family in SUBJECTS:
        yield from _load(family)


def _load(family: str) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="atelier-load-") as root:
        sizes = _write_checkpoints(SUBJECTS[family], Path(root))
        _read_once(Path(root))
        for kind in SUBJECTS[family].kinds:
            yield from _memory_of(family, kind, Path(root), sizes[kind])
            yield from _time_of(family, kind, Path(root))


def _memory_of(family: str, kind: str, root: Path, size: int) -> list[Figure]:
    """The memory figure; empty if the system does not report memory."""
    subject = SUBJECTS[family]
    shares = {
        loader: (_fresh_process("memory", family, kind, root, loader)["memory"] or 0) / size
        for loader in subject.loaders(kind)
    }
    others = "".join(f"; {loader} {share:.3f}" for loader, share in shares.items() if loader != "ours")
    name, note = f"{subject.name} {kind}, memory", f"of {size / 1e9:.2f} GB{others}"
    return [Figure(name, (shares["ours"],), 1.15, note=note)] if shares["ours"] else []


def _time_of(family: str, kind: str, root: Path) -> list[Figure]:
    """The time figure; empty if diffusers cannot load such a file."""
    if len(SUBJECTS[family].loaders(kind)) == 1:
        return []
    seconds = _fresh_process("time", family, kind, root)
    name, note = f"{SUBJECTS[family].name} {kind}, time", seconds_of(seconds)
    return [Figure(name, ratios(seconds["ours"], seconds["diffusers"]), 1.0, note=note)]


def _write_checkpoints(subject: Subject, root: Path) -> dict[str, int]:
    """Write the same random weights in every kind of file. Returns the bytes of weights in each."""
    import diffusers
    from safetensors.torch import save_file

    torch.manual_seed(0)
    noise = torch.randn(2**27).mul_(0.02).to(getattr(torch, DTYPE))
    with torch.device("meta"):
        network = getattr(diffusers, subject.network)(**subject.config)
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    weights = {name: noise[: shape.numel()].view(shape).clone() for name, shape in shapes.items()}
    network.load_state_dict(weights, assign=True)
    folder = root / KINDS["folder"]
    network.save_pretrained(folder / "transformer", max_shard_size="500MB")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": subject.pipeline}))
    original = subject.original(weights)
    whole = {PREFIX + name: weight.contiguous() for name, weight in original.items()}
    save_file(whole, root / KINDS["file"])
    sizes = dict.fromkeys(("file", "folder"), sum(weight.nbytes for weight in whole.values()))
    if "fp8" in subject.kinds:
        small = {name: weight.to(torch.float8_e4m3fn) if weight.ndim == 2 else weight for name, weight in whole.items()}
        save_file(small, root / KINDS["fp8"])
        sizes["fp8"] = sizes["scaled"] = sum(weight.nbytes for weight in small.values())
        matrices = [name for name, weight in small.items() if weight.ndim == 2]
        scales = {name.removesuffix("weight") + "scale_weight": torch.tensor(0.02) for name in matrices}
        save_file(small | scales, root / KINDS["scaled"])
    if "gguf" in subject.kinds:
        _write_gguf(root / KINDS["gguf"], original)
        sizes["gguf"] = (root / KINDS["gguf"]).stat().st_size
    return sizes


def _write_gguf(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a GGUF file with matrices in eight bits, and the rest in float32."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "ltxv", use_temp_file=True)
    for name, weight in weights.items():
        kind = gguf.GGMLQuantizationType["Q8_0" if weight.ndim == 2 and "table" not in name else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(weight.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_once(root: Path) -> None:
    """Read the files into the system's cache, so that the first loader is not slower than the others."""
    for path in (*root.rglob("*.safetensors"), *root.glob("*.gguf")):
        with path.open("rb") as file:
            while file.read(2**24):
                pass


def _fresh_process(what: str, family: str, kind: str, root: Path, *loader: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.load", what, family, kind, str(root), *loader]
    result = subprocess.run(command, cwd=comfyui.ROOT / "tools", capture_output=True, text=True)
    if result.returncode:
        raise Problem(f"loading failed: {result.stderr.strip()[-800:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _loaded_by_us(subject: Subject, kind: str, root: Path) -> torch.nn.Module:
    """As Load Video Model does."""
    from atelier.models.loading import load as checkpoint
    from atelier.models.loading.identify import open_model

    dtype = "float8_e4m3fn" if kind == "fp8" else DTYPE
    return checkpoint.load_model(open_model(root / KINDS[kind]), dtype).model.diffusion_model


def _loaded_by_diffusers(subject: Subject, kind: str, root: Path) -> torch.nn.Module:
    import diffusers

    network, dtype, options = getattr(diffusers, subject.network), getattr(torch, DTYPE), {}
    folder = root / KINDS["folder"]
    if kind == "folder":
        return network.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype)
    if kind == "gguf":
        options["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    return network.from_single_file(
        str(root / KINDS[kind]), config=str(folder), subfolder="transformer", torch_dtype=dtype, **options
    )


def _touch(network: torch.nn.Module) -> None:
    """Read a byte of each page of each weight."""
    for weight in network.state_dict().values():
        weight = weight.as_subclass(torch.Tensor)  # diffusers' quantised weights have no sum
        weight.flatten().view(torch.uint8)[::4096].sum().item()


def status(field: str) -> int | None:
    """Bytes of a field of /proc/self/status: VmRSS is the current memory, VmHWM the peak. None without that file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _measure_memory(subject: Subject, kind: str, root: Path, loader: str) -> dict[str, int | None]:
    """In the fresh process: peak bytes above the imports."""
    gc.collect()
    before = status("VmRSS")
    if before is None:
        return {"memory": None}
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    network = LOADERS[loader](subject, kind, root)
    _touch(network)
    return {"memory": status("VmHWM") - before}


def _measure_time(subject: Subject, kind: str, root: Path) -> dict[str, list[float]]:
    """In the fresh process: CPU seconds of each loader in each round."""

    def loading(load: Callable[..., torch.nn.Module]) -> Callable[[], None]:
        return lambda: _touch(load(subject, kind, root))

    contenders = {name: loading(load) for name, load in LOADERS.items()}
    return interleaved(ROUNDS, contenders, time.process_time)


LOADERS = {"ours": _loaded_by_us, "diffusers": _loaded_by_diffusers}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("memory", "time"))
    parser.add_argument("family", choices=tuple(SUBJECTS))
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("root", type=Path)
    parser.add_argument("loader", nargs="?", choices=tuple(LOADERS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-load-") as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        importlib.import_module(
            "atelier.models.families.registry"
        ).families()  # what all loaders import, diffusers among it
        subject = SUBJECTS[options.family]
        if options.what == "memory":
            print(json.dumps(_measure_memory(subject, options.kind, options.root, options.loader)))
        else:
            print(json.dumps(_measure_time(subject, options.kind, options.root)))
