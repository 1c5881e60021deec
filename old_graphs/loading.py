"""Model, VAE and LoRA loaders -> Load Video Model, with Load Video LoRA and TorchCompileModel behind it."""

from __future__ import annotations

from . import names
from .graph import Node, Source, short
from .translation import Old, Results, Translation

DTYPES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp8_e4m3fn": "float8_e4m3fn",
    "fp8_e4m3fn_fast": "float8_e4m3fn",
    "fp8_e4m3fn_fastmode": "float8_e4m3fn",
    "enabled": "float8_e4m3fn",
    "fastmode": "float8_e4m3fn",
    True: "float8_e4m3fn",
}
"""The wrappers' number formats -> weight_dtype."""
UNQUANTISED = {None, False, "disabled"}


def load(work: Translation, old: Old) -> Results:
    name = " ".join(filter(None, (str(old.get("model") or "CogVideoX-2b"), str(old.get("variant") or ""))))
    choice, there = names.model(name, work.installed)
    if not old.get("model"):
        work.report.remark(f"{short(old.node.type)} names no model; Load Video Model has {short(choice)}")
    elif not there:
        work.report.remark(f"The model {short(name)} is not installed; Load Video Model names it as {short(choice)}")
    inputs = {
        "model": choice,
        "weight_dtype": _dtype(work, old, choice),
        "text_encoder": _text_encoder(work, old),
        "vae": _vae_name(work, old),
    }
    node = work.new("AtelierLoadVideoModel", inputs, old, own=True)
    model = Source(node.id, 0)
    for lora in _loras(work, old):
        model = Source(_lora(work, lora, model).id, 0)
    compiler = work.old_origin(old.source("compile_args"), "compile")
    if compiler or old.get("compile") in ("torch", True):
        backend = {"model": model, "backend": compiler.get("backend") if compiler else None}
        compiled = work.new("TorchCompileModel", backend, compiler or old, own=compiler is not None)
        model = Source((work.passing(compiled, compiler) if compiler else compiled).id, 0)
    return {"model": model, "clip": Source(node.id, 1), "vae": Source(node.id, 2)}


def _dtype(work: Translation, old: Old, choice: str) -> str:
    quantised, precision = old.get("quantization"), old.get("precision")
    if "gguf" in names.plain(choice) or "scaled" in names.plain(choice):
        return "default"
    if quantised not in UNQUANTISED:
        if quantised not in DTYPES:
            work.report.lose(old.node, f"quantization {short(quantised)} is lost: the weights are float8_e4m3fn")
        return DTYPES.get(quantised, "float8_e4m3fn")
    return DTYPES.get(precision, "default")


def _text_encoder(work: Translation, old: Old) -> str | None:
    """The file of the CLIPLoader that this model loader takes in. Of several files the T5."""
    clips = [work.graph.nodes[key] for key, loader in work.loaders.items() if loader is old and key not in work.old]
    for clip in clips:
        values = clip.saved.values() if isinstance(clip.saved, dict) else clip.saved
        files = [value for value in values if isinstance(value, str)]
        files.sort(key=lambda file: "t5" not in file.lower())
        return _file(work, "text encoder", files[0] if files else "", work.installed.text_encoders)
    return None


def _vae_name(work: Translation, old: Old) -> str | None:
    """The file that the loader names, else that of the VAE loader that belongs to it, decoders first."""
    if name := old.get("vae"):
        return _file(work, "VAE", name, work.installed.vaes)
    loaders = [vae for vae in work.of_role("vae") if work.loaders.get(vae.node.id) is old and vae.get("vae")]
    loaders.sort(key=lambda vae: "encoder" in vae.node.type.lower())
    return _file(work, "VAE", loaders[0].get("vae"), work.installed.vaes) if loaders else None


def _file(work: Translation, kind: str, name: str, choices: tuple[str, ...]) -> str | None:
    """The listed file; None, which is "automatic", if it is not there."""
    found = names.file(name, choices)
    if found is None and name:
        work.report.remark(f"The {kind} {short(name)} is not installed; Load Video Model finds one (automatic)")
    return found


def vae(work: Translation, old: Old) -> Results:
    if loader := work.loaders.get(old.node.id):
        return {"vae": work.results(loader)["vae"]} if work.results(loader) else {}
    name = str(old.get("vae") or "")
    node = work.new("VAELoader", {"vae_name": names.file(name, work.installed.vaes) or name}, old, own=True)
    return {"vae": Source(node.id, 0)}


def _loras(work: Translation, loader: Old) -> list[Old]:
    """The LoRAs of a model loader, in the order in which they are applied."""
    chain: list[Old] = []
    lora = work.old_origin(loader.source("lora"), "lora")
    while lora is not None and lora not in chain:
        chain.insert(0, lora)
        lora = work.old_origin(lora.source("chain"), "lora")
    return chain


def _lora(work: Translation, old: Old, model: Source) -> Node:
    name = str(old.get("lora") or "")
    found = names.file(name, work.installed.loras)
    if found is None:
        work.report.remark(f"The LoRA {short(name)} is not installed: put it into models/loras")
    inputs = {"model": model, "lora": found or name.replace("\\", "/"), "strength": old.given("strength")}
    return work.passing(work.new("AtelierLoadVideoLoRA", inputs, old, own=True), old)
