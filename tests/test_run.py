"""run.py as a person calls it: what it says and how it ends. A copy with a tiny lock stands in for the large one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import environment
import pytest
from console import Problem

ROOT = Path(__file__).resolve().parent.parent
BARE = {key: value for key, value in os.environ.items() if not key.startswith(("COMFYUI_", "ATELIER_", "VIRTUAL_ENV"))}


def base_python() -> str:
    """The Python that the environment of this test was made with: run.py must see no active environment."""
    return getattr(sys, "_base_executable", sys.executable)


def run(*arguments: str, root: Path = ROOT, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    command = [base_python(), str(root / "run.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=BARE | variables, capture_output=True, text=True, timeout=250)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """run.py and its helpers in a folder of their own (with a space in its name), locked to one tiny local package."""
    root = tmp_path / "a copy"
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", root)
    shutil.copy(ROOT / "requirements.txt", root)
    for lock in (root / "tools").glob("requirements*.lock"):
        lock.write_text("# nothing to install\n")
    (root / "tools" / "bench.py").write_text("import sys; print(sys.prefix, *sys.argv[1:]); sys.exit(7)")
    return root


def test_help_from_any_folder(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("demo", "models", "serve", "worker", "convert", "test", "bench", "shots", "lint", "pocket"):
        assert f"  {command}" in result.stdout


def test_no_command_and_a_wrong_one():
    assert run().returncode == 2
    result = run("dmo")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "Error: there is no command 'dmo'. Known: demo, models, serve, worker, convert, test, bench, shots, "
        "studio, media, pictures, lint, pocket (python run.py --help)."
    ]


def test_wrong_options_are_refused_before_anything_is_made(copy):
    assert run("demo", "--seed", "many", root=copy).returncode == 2
    assert run("demo", "--help", root=copy).returncode == 0
    assert not (copy / ".venv").exists()


@pytest.mark.parametrize("version", [(3, 8, 10), (3, 9, 2)])
def test_an_old_python_gets_one_line(version):
    start = f"runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')"
    code = f"import sys, runpy; sys.version_info = {version}; {start}"
    result = subprocess.run([base_python(), "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert (
        result.stderr == f"Error: this is Python 3.{version[1]}; Atelier needs 3.11 or newer. Try: python3.11 run.py\n"
    )


def test_locks_are_exact_and_agree():
    runtime, dev = environment.read_lock(environment.RUNTIME_LOCK), environment.read_lock(environment.TEST_LOCK)
    assert runtime["torch"] == "2.11.0" and "pytest" in dev
    assert all(runtime[name] == version for name, version in dev.items() if name in runtime)


def test_a_loose_pin_is_refused(tmp_path):
    (tmp_path / "x.lock").write_text("torch>=2\n")
    with pytest.raises(Problem, match="'torch>=2' is not an exact pin"):
        environment.read_lock(tmp_path / "x.lock")


def test_an_environment_is_made_once_and_again_when_the_lock_changes(copy):
    (copy / "ComfyUI" / "comfy").mkdir(parents=True)
    (copy / "ComfyUI" / "main.py").touch()
    (copy / "ComfyUI" / "requirements.txt").touch()
    there = {"COMFYUI_PATH": str(copy / "ComfyUI")}

    first = run("bench", "--json", "x", root=copy, **there)
    assert first.returncode == 7, first.stderr  # the script's own exit code
    assert "Making" in first.stdout and f"{copy / '.venv'} --json x" in first.stdout

    again = run("bench", root=copy, **there)
    assert again.stdout.splitlines() == [str(copy / ".venv")]

    (copy / "tools" / "requirements.lock").write_text("# changed\n")
    changed = run("bench", root=copy, **there)
    assert "Making" not in changed.stdout and "Installing" in changed.stdout


@pytest.mark.slow
def test_an_interrupted_environment_is_mended(copy):
    (copy / ".venv" / "bin").mkdir(parents=True)
    result = run("bench", root=copy, COMFYUI_PATH=str(copy / "nowhere"))
    assert "Making" in result.stdout
    assert result.returncode == 1 and "COMFYUI_PATH is" in result.stderr and "Traceback" not in result.stderr


def test_a_registry_out_of_reach_gets_one_line(copy):
    (copy / "tools" / "requirements.lock").write_text("no-such-package-at-all==1.0\n")
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    result = run("bench", root=copy, **unreachable)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "registry cannot be reached" in result.stderr
    assert not (copy / ".venv" / ".installed-requirements.lock").exists()


def test_an_environment_named_by_the_person_is_used(copy):
    wrong = run("bench", root=copy, COMFYUI_PYTHON=str(copy / "python"))
    assert wrong.returncode == 1 and "is not a program" in wrong.stderr
    right = run("bench", root=copy, COMFYUI_PYTHON=sys.executable, COMFYUI_PATH=os.environ["ATELIER_COMFYUI"])
    assert right.returncode == 7, right.stderr
    assert right.stdout.splitlines()[-1] == sys.prefix and not (copy / ".venv").exists()
