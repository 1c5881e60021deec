"""Model files with false headers: each is refused by its header, at once, and affects no other model or request."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import quantised
import tiny
import torch
from atelier.models.library import folders
from atelier.models.loading.describe import about, describe
from atelier.models.loading.identify import identify, open_model
from atelier.models.loading.load import load_model, load_vae
from atelier.models.weights.checkpoint import open_checkpoint, open_component, read
from atelier.models.weights.errors import CheckpointError
from safetensors.torch import load_file, save_file
from wire_client import FAST, error

Write = Callable[[Path], object]


def gguf(*, tensors: int = 0, fields: bytes = b"", count: int = 1, rest: bytes = b"", size: int = 0) -> Write:
    """A GGUF file with this header and a sparse rest of `size` bytes, which takes no disk space."""

    def write(path: Path) -> None:
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + fields + rest)
        os.truncate(path, path.stat().st_size + size)

    return write


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"x" + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return field(9, struct.pack("<IQ", kind, count) + values)


def safetensors(header: bytes, length: int | None = None, size: int = 0) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
        os.truncate(path, path.stat().st_size + size)

    return write


def tensors(count: int) -> bytes:
    return json.dumps({f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(count)}).encode()


GIGA = 2**30
LIARS: dict[str, Write] = {
    "2^40 numbers.gguf": gguf(fields=array(4, 2**40), rest=bytes(64)),
    "2^40 words.gguf": gguf(fields=array(8, 2**40), rest=bytes(64)),
    "2^40 lists.gguf": gguf(fields=array(9, 2**40), rest=bytes(64)),
    "as many bytes as it has.gguf": gguf(fields=array(0, 2**29), size=GIGA),
    "as many empty words as it has.gguf": gguf(fields=array(8, 2**26), size=GIGA),
    "2^60 fields.gguf": gguf(count=2**60, rest=bytes(64)),
    "2^30 fields of nothing.gguf": gguf(count=2**26, size=GIGA),
    "2^40 tensors.gguf": gguf(tensors=2**40, count=0, rest=bytes(64)),
    "a million tensors.gguf": gguf(tensors=10**6, count=0, size=GIGA),
    "2^31 dimensions.gguf": gguf(tensors=1, count=0, rest=struct.pack("<Q", 1) + b"w" + struct.pack("<I", 2**31)),
    "a word without end.gguf": gguf(fields=field(8, struct.pack("<Q", 2**63))),
    "lists in lists.gguf": gguf(fields=field(9, struct.pack("<IQ", 9, 1) * 5000), rest=bytes(64)),
    "no kind.gguf": gguf(fields=field(77, bytes(8))),
    "other bytes first.gguf": lambda path: path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 2**40) + bytes(64)),
    "only its name.gguf": lambda path: path.write_bytes(b"GGUF"),
    "a long header.safetensors": safetensors(b"{", 99 * 10**6, size=100 * 10**6),
    "a header longer than the file.safetensors": safetensors(b"{", 2**40, size=100),
    "a million tensors.safetensors": safetensors(tensors(200_000)),
    "nested.safetensors": safetensors(b'{"a":' * 100_000),
    "huge shapes.safetensors": safetensors(
        b'{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "a pipe.safetensors": os.mkfifo,
    "a pipe.gguf": os.mkfifo,
    "empty.safetensors": lambda path: path.touch(),
}


@pytest.mark.parametrize("name", LIARS)
def test_refused_from_the_header(tmp_path, name):
    LIARS[name](tmp_path / name)
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    for look in (open_checkpoint, about, lambda path: open_component(path, "VAE", ("vae.", ""))):
        with pytest.raises(CheckpointError, match=r"\.(gguf|safetensors)"):
            look(tmp_path / name)
    assert time.monotonic() - began < 20 and psutil.Process().memory_info().rss - before < 300e6


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "network.gguf"
    return quantised.write(path, {"a.weight": torch.ones(4, 32), "b.bias": torch.ones(3)}, "Q8_0")


def test_honest_files_are_read(honest):
    part = open_component(honest, "network")
    assert part.shapes == {"a.weight": (4, 32), "b.bias": (3,)} and set(part.state_dict()) == set(part.shapes)


def _spoilt(content: bytes, draw: random.Random) -> bytes:
    """A header with some bytes changed, or truncated."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(4, min(len(changed), 400))] = draw.choice((0, 1, 9, 127, 128, 255))
    return bytes(changed[: draw.choice((len(changed), draw.randrange(4, len(changed))))])


def test_spoilt_bytes(tmp_path, honest):
    """Every damaged header gives a CheckpointError or a readable file."""
    draw, content, refused = random.Random(14), honest.read_bytes(), 0
    for _ in range(400):
        (tmp_path / "x.gguf").write_bytes(_spoilt(content, draw))
        try:
            open_component(tmp_path / "x.gguf", "network").state_dict()
        except CheckpointError:
            refused += 1
    assert 100 < refused


def test_a_small_file_that_is_written_again_in_place(tmp_path):
    """Trainers overwrite a LoRA. The loaded one is a copy, because truncating a mapped file ends the process."""
    path, first = tmp_path / "last.safetensors", torch.ones(512, 512)
    save_file({"w": first}, path)
    state, _ = read(path)
    with path.open("r+b") as file:
        file.seek(-(first.nbytes), 2)
        file.write(bytes(first.nbytes))
        file.truncate(1000)
    assert torch.equal(state["w"], first)
    with pytest.raises(CheckpointError, match="incomplete"):
        read(path)


# -------------------------------------------------------------------------------------------- folders beside weights


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


SPOILT_CONFIGS: dict[str, Write] = {
    "300 MB": lambda path: os.truncate(path, 300 * 10**6),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a list": lambda path: path.write_text("[]"),
    "nested without end": lambda path: path.write_text("[" * 200_000),
    "a number of 10,000 digits": lambda path: path.write_text('{"in_channels": ' + "9" * 10_000 + "}"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "words for numbers": lambda path: path.write_text(
        json.dumps({name: "x" if isinstance(was, int) else was for name, was in json.loads(path.read_text()).items()})
    ),
    "no numbers": lambda path: path.write_text(
        json.dumps({name: None if isinstance(was, int) else was for name, was in json.loads(path.read_text()).items()})
    ),
}


@pytest.mark.parametrize("spoil", SPOILT_CONFIGS.values(), ids=SPOILT_CONFIGS)
def test_configs(model, spoil):
    spoil(model / "transformer" / "config.json")
    began = time.monotonic()
    with pytest.raises(CheckpointError):
        about(model)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "index", [{"weight_map": []}, {"weight_map": {"a": ["b"], "c": 7}}, [], {"weight_map": dict.fromkeys("abc", "d")}]
)
def test_indices(model, index):
    (model / "transformer" / "x.safetensors.index.json").write_text(json.dumps(index))
    try:
        about(model)
    except CheckpointError as raised:
        assert "x.safetensors.index.json" in str(raised)


RECIPES = [
    {"width": "<b>"}, {"fps": 0}, {"fps": "nan"}, {"frames": -1}, {"steps": 1e300}, {"frames": 2.5}, {"width": True},
    {"negative_prompt": 7}, {"preview": 7}, {"preview": {"x": 1}}, {"vocabulary": {}}, {"vocabulary": 7},
    {"guidance": None}, {"height": [1]},
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=map(str, RECIPES))
def test_recipes(model, recipe):
    (model / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(CheckpointError, match=r"recipe\.json"):
        identify(open_checkpoint(model))


@pytest.mark.parametrize("spoil", list(SPOILT_CONFIGS.values())[:6], ids=list(SPOILT_CONFIGS)[:6])
def test_text_models(tmp_path, spoil):
    """A text model's folder is listed if it has a config.json. An unreadable one causes an error when it is used."""
    (tmp_path / "writer").mkdir()
    (tmp_path / "writer" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    spoil(tmp_path / "writer" / "config.json")
    began = time.monotonic()
    assert isinstance(folders._writes(tmp_path / "writer" / "config.json"), bool)
    assert time.monotonic() - began < 10


def test_configs_that_ask_for_a_billion_layers(model):
    """Building them would take all memory, although no layer has weights yet."""
    for part, entry in {"transformer": {"num_layers": 10**9}, "vae": {"layers_per_block": [10**9] * 4}}.items():
        config = model / part / "config.json"
        was = config.read_text()
        config.write_text(json.dumps(json.loads(was) | entry))
        began = time.monotonic()
        with pytest.raises(CheckpointError, match="more than 20,000 weights"):
            (load_model if part == "transformer" else load_vae)(open_model(model))
        assert time.monotonic() - began < 60
        config.write_text(was)


def test_the_billionth_block(tmp_path):
    """A block's number in a key does not set how many blocks are built."""
    state = load_file(tiny.single_file(tmp_path / "model.safetensors"))
    state["model.diffusion_model.transformer_blocks.999999999.attn1.to_q.weight"] = torch.ones(1, 1)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="transformer_blocks.999999999"):
        load_model(open_model(tmp_path / "model.safetensors"))


# -------------------------------------------------------------------------------------------- the list of models


@pytest.fixture
def liars(server, tiny_model) -> Iterator[list[str]]:
    """All of them in the server's folders, by their names in the API."""
    checkpoints, huge = server.base / "models" / "checkpoints", server.base / "models" / "diffusers" / "huge"
    for name, write in LIARS.items():
        write(checkpoints / name)
    shutil.copytree(tiny_model, huge)
    os.truncate(huge / "transformer" / "config.json", 300 * 10**6)
    yield ["diffusers/huge", *LIARS]
    for name in LIARS:
        (checkpoints / name).unlink()
    shutil.rmtree(huge)


def test_the_list_of_models(http, server, liars):
    """The list names each file's problem, and a second request is answered from the cache."""
    http.get("/models")
    began = time.monotonic()
    listed = {model["id"]: model for model in http.get("/models").json()["data"]}
    assert time.monotonic() - began < 5
    assert all(listed[name]["problem"] and not listed[name]["features"]["edit"]["supported"] for name in liars)
    assert listed["sora-2"]["problem"] is None
    refused = http.post("/videos", json=FAST | {"model": liars[1]})
    assert error(refused)[:2] == (422, "model_unusable")


def test_what_is_wrong_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", ([str(tmp_path)], {".safetensors"}))
    path = tmp_path / "torn.safetensors"

    def problem() -> Exception:
        with pytest.raises(CheckpointError) as raised:
            describe("checkpoints/torn.safetensors")
        return raised.value

    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    first = problem()
    assert problem() is first
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{ ")
    assert problem() is not first
