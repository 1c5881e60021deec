"""The layout of the code: imports run one way, functions fit on a screen, a family has the files of a family."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = (
    "nodes",
    "api",
    "farm",
    "old_graphs",
    "editing",
    "prompts",
    "models.loading",
    "models.families",
    "models.bridge",
    ("models.library", "models.timeline"),
    "models.contract",
    ("models.weights", "models.streaming"),
)
"""From the top of the house to its ground. A room imports from rooms below it; two that share a floor, from neither."""
APART = "media"
"""Frames and files: any room may import it, and it imports none."""
FUNCTION_LINES = 60


def product() -> list[Path]:
    rooms = {name.split(".")[0] for floor in ROOMS for name in ([floor] if isinstance(floor, str) else floor)}
    return [ROOT / "__init__.py", *sorted(f for room in {*rooms, APART} for f in (ROOT / room).rglob("*.py"))]


def module_of(file: Path) -> list[str]:
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name inside the pack) of everything a file imports of the pack, late imports included."""
    package = module_of(file) if file.name == "__init__.py" else module_of(file)[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "atelier":
            yield node.lineno, node.module


def floor_of(dotted: str) -> tuple[int, str] | None:
    """The floor's number, 0 at the top, and the room's name; None for what is in no room."""
    for number, floor in enumerate(ROOMS):
        for room in [floor] if isinstance(floor, str) else floor:
            if (dotted + ".").startswith(room + "."):
                return number, room
    return None


def uphill(files: list[Path]) -> list[str]:
    """The imports that run up, sideways or into another family, as "file:line room -> name"."""
    found = []
    for file in files:
        here = floor_of(".".join(module_of(file)))
        for line, name in imported(file):
            there, place = floor_of(name), f"{file.relative_to(ROOT).as_posix()}:{line}"
            if module_of(file)[:1] == [APART] and not name.startswith(APART):
                found.append(f"{place} {APART} -> {name}")
            elif name.split(".")[0] == "tools":
                found.append(f"{place} -> {name}: tools may import the product, never the other way")
            elif here and there and here[1] != there[1] and there[0] <= here[0]:
                found.append(f"{place} {here[1]} -> {name}")
            elif here and there and here[1] == there[1] == "models.families":
                family, other = module_of(file)[2:3], name.split(".")[2:3]
                if family and family != ["registry"] and other not in (family, ["registry"]):
                    found.append(f"{place} a family imports another: {name}")
    return found


def test_imports_run_down():
    assert uphill(product()) == []


def test_an_import_that_runs_up_is_named(tmp_path, monkeypatch):
    """The test itself can fail: late imports, sideways ones and those into another family are found."""
    monkeypatch.setitem(uphill.__globals__, "ROOT", tmp_path)
    lines = {
        "models/contract/grid.py": "def f():\n    from ..bridge import vae\n",
        "models/timeline/spans.py": "from ..library import folders\n",
        "models/families/mochi/family.py": "from ..cogvideox import layouts\n",
        "media/read.py": "from ..nodes import video\n",
        "api/graphs/marks.py": "from ...tools import client\n",
        "nodes/load.py": "from ..models.loading import load\n",
    }
    for name, text in lines.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert uphill(sorted(tmp_path.rglob("*.py"))) == [
        "api/graphs/marks.py:1 -> tools.client: tools may import the product, never the other way",
        "media/read.py:1 media -> nodes.video",
        "models/contract/grid.py:2 models.contract -> models.bridge.vae",
        "models/families/mochi/family.py:1 a family imports another: models.families.cogvideox.layouts",
        "models/timeline/spans.py:1 models.timeline -> models.library.folders",
    ]


def unused(file: Path) -> list[str]:
    """Modules that a file imports by a dotted name (`import comfy.sd`) and does not use, as "file:line name".

    ruff does not see them: any use of `comfy` counts as a use of them all.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return [
        f"{file.relative_to(ROOT).as_posix()}:{node.lineno} {alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if "." in alias.name and alias.asname is None and not any((u + ".").startswith(alias.name + ".") for u in used)
    ]


def test_no_module_is_imported_for_nothing(tmp_path, monkeypatch):
    assert [line for file in product() for line in unused(file)] == []
    monkeypatch.setitem(unused.__globals__, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("import comfy.sd\nimport comfy.sd1_clip\nimport os.path\n\ncomfy.sd1_clip.x(os)\n")
    assert unused(tmp_path / "a.py") == ["a.py:1 comfy.sd", "a.py:3 os.path"]


def test_only_the_bridge_knows_comfyui():
    """Among the rooms of models/, `import comfy` stands in the bridge alone; elsewhere for type checkers at most."""
    found = []
    for file in product():
        parts = module_of(file)
        if parts[:1] != ["models"] or parts[1:2] == ["bridge"]:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        checked = {
            id(inner)
            for node in tree.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [
                f"{file.relative_to(ROOT).as_posix()}:{node.lineno} {name}"
                for name in names
                if name.split(".")[0] == "comfy" and id(node) not in checked
            ]
    assert found == []


def test_functions_fit_on_a_screen():
    """A node's schema is a table, not a function to follow: it may be longer."""
    long = []
    for file in product():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "define_schema":
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{file.relative_to(ROOT).as_posix()}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_no_global_is_set_late_and_imported_by_name():
    """A name that a function sets with `global` is read through its module, or it stays what it was when imported."""
    late = {}
    for file in product():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Global):
                late |= {".".join([*module_of(file), name]): file for name in node.names}
    found = [
        f"{file.relative_to(ROOT).as_posix()}:{line} {name}"
        for file in product()
        for line, name in imported(file)
        if name in late
    ]
    assert found == []


def test_no_circles():
    """No file imports itself by way of others, late imports and those for type checkers included."""
    files = {".".join(module_of(file)): file for file in product()}
    below = {
        name: {n if n in files else n.rpartition(".")[0] for _, n in imported(file)} & files.keys() - {name}
        for name, file in files.items()
    }
    while ends := {name for name, targets in below.items() if not targets}:
        below = {name: targets - ends for name, targets in below.items() if name not in ends}
    assert below == {}


@pytest.mark.parametrize(
    "family", sorted(p.name for p in (ROOT / "models/families").iterdir() if p.is_dir() and p.name[0] != "_")
)
def test_a_family_is_one_folder_with_the_same_files(family):
    folder = ROOT / "models" / "families" / family
    assert {"family.py", "network.py", "layouts.py", "autoencoder.py"} <= {file.name for file in folder.glob("*.py")}
    registry = (ROOT / "models/families/registry.py").read_text(encoding="utf-8")
    assert f"from .{family} " in registry or f"from .{family}." in registry
