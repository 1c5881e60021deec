"""Loading a 2 GB checkpoint: peak memory over its size, and time over that of diffusers' own loader.

Everything runs in fresh processes (this module, run as a script). Both loaders map the file, which the system has in
its cache, so every page of every weight is touched before the memory is read and the clock stops; a mapped page that
was touched counts as memory. The clock is processor time, which other programs disturb little.
"""

import argparse
import gc
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import comfyui
import pack
import torch
from console import Problem

from benchmarks.figure import Figure, interleaved, ratios, seconds_of
from benchmarks.layout import in_original_layout

NETWORK = {"num_layers": 14, "num_attention_heads": 32, "attention_head_dim": 64, "cross_attention_dim": 2048}
"""LTX Video 2B at half its depth."""
DTYPE = "bfloat16"
ROUNDS = 11
KINDS = {"file": "model.safetensors", "folder": "ltx", "gguf": "model.gguf"}


def load() -> list[Figure]:
    """Memory and time for the single file that artists have, for a diffusers folder in shards, and for GGUF (Q8_0)."""
    with tempfile.TemporaryDirectory(prefix="atelier-load-") as root:
        size = _write_checkpoints(Path(root))
        sizes = {kind: size for kind in KINDS} | {"gguf": (Path(root) / KINDS["gguf"]).stat().st_size}
        _read_once(Path(root))
        return [
            figure
            for kind in KINDS
            for figure in (*_memory_of(kind, Path(root), sizes[kind]), _time_of(kind, Path(root)))
        ]


def _memory_of(kind: str, root: Path, size: int) -> list[Figure]:
    """Nothing where the system does not tell."""
    ours, theirs = (_fresh_process("memory", kind, root, loader)["memory"] for loader in ("ours", "diffusers"))
    note = f"of {size / 1e9:.2f} GB; diffusers {theirs / size:.3f}" if theirs else ""
    return [Figure(f"load {kind}, memory", (ours / size,), 1.15, note=note)] if ours else []


def _time_of(kind: str, root: Path) -> Figure:
    seconds = _fresh_process("time", kind, root)
    return Figure(f"load {kind}, time", ratios(seconds["ours"], seconds["diffusers"]), 1.0, note=seconds_of(seconds))


def _write_checkpoints(root: Path) -> int:
    """The same random weights as a single file in the original layout and as a diffusers folder; their size."""
    from diffusers import LTXVideoTransformer3DModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    noise = torch.randn(2**25).mul_(0.02).to(getattr(torch, DTYPE))
    with torch.device("meta"):
        network = LTXVideoTransformer3DModel(**NETWORK)
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    weights = {name: noise[: shape.numel()].view(shape).clone() for name, shape in shapes.items()}
    network.load_state_dict(weights, assign=True)
    folder = root / KINDS["folder"]
    network.save_pretrained(folder / "transformer", max_shard_size="500MB")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LTXPipeline"}))
    renamed = in_original_layout(network.state_dict(), "model.diffusion_model.")
    save_file(renamed, root / KINDS["file"])
    _write_gguf(root / KINDS["gguf"], in_original_layout(network.state_dict(), ""))
    return sum(weight.nbytes for weight in renamed.values())


def _write_gguf(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Matrices in eight bits, the rest in float32."""
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
    """Bring the files into the system's cache, so that the first reader does not pay for all."""
    for path in (*root.rglob("*.safetensors"), root / KINDS["gguf"]):
        with path.open("rb") as file:
            while file.read(2**24):
                pass


def _fresh_process(what: str, kind: str, root: Path, *loader: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.load", what, kind, str(root), *loader]
    result = subprocess.run(command, cwd=comfyui.ROOT / "tools", capture_output=True, text=True)
    if result.returncode:
        raise Problem(f"loading failed: {result.stderr.strip()[-800:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _loaded_by_us(kind: str, root: Path) -> torch.nn.Module:
    """As Load Video Model does."""
    from atelier.models import checkpoint

    return checkpoint.load_model(root / KINDS[kind], DTYPE).model.diffusion_model


def _loaded_by_diffusers(kind: str, root: Path) -> torch.nn.Module:
    from diffusers import GGUFQuantizationConfig, LTXVideoTransformer3DModel

    dtype, folder, options = getattr(torch, DTYPE), root / KINDS["folder"], {}
    if kind == "gguf":
        options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    if kind == "folder":
        return LTXVideoTransformer3DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype)
    return LTXVideoTransformer3DModel.from_single_file(
        str(root / KINDS[kind]), config=str(folder), subfolder="transformer", torch_dtype=dtype, **options
    )


def _touch(network: torch.nn.Module) -> None:
    """Read one value of each page of each weight."""
    for weight in network.state_dict().values():
        weight = weight.as_subclass(torch.Tensor)  # diffusers' quantised weights know no sum
        weight.flatten()[:: 4096 // weight.element_size()].sum().item()


def status(field: str) -> int | None:
    """Bytes of a field of /proc/self/status: VmRSS now, VmHWM at its highest. None where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _measure_memory(kind: str, root: Path, loader: str) -> dict[str, int | None]:
    """In the fresh process: bytes above what the imports took."""
    gc.collect()
    before = status("VmRSS")
    if before is None:
        return {"memory": None}
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    network = LOADERS[loader](kind, root)
    _touch(network)
    return {"memory": status("VmHWM") - before}


def _measure_time(kind: str, root: Path) -> dict[str, list[float]]:
    """In the fresh process: processor seconds of each loader in each round."""

    def loading(load: Callable[[str, Path], torch.nn.Module]) -> Callable[[], None]:
        return lambda: _touch(load(kind, root))

    contenders = {name: loading(load) for name, load in LOADERS.items()}
    return interleaved(ROUNDS, contenders, time.process_time)


LOADERS = {"ours": _loaded_by_us, "diffusers": _loaded_by_diffusers}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("memory", "time"))
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("root", type=Path)
    parser.add_argument("loader", nargs="?", choices=tuple(LOADERS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-load-") as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        importlib.import_module("atelier.models.ltx_video")  # what both loaders import, diffusers among it
        if options.what == "memory":
            print(json.dumps(_measure_memory(options.kind, options.root, options.loader)))
        else:
            print(json.dumps(_measure_time(options.kind, options.root)))
