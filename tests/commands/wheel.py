"""The wheel in an empty environment: ``python -m commands.wheel [--dependencies]``.

Without the option the dependencies are those of this environment, which takes seconds; with it all of them
are installed anew, as a person would.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> Path:
    """A wheel of what stands here, made from a copy: a build leaves its files beside the sources."""
    copy = folder / "sources"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(copy)], check=True)
    [wheel] = folder.glob("headrace-*.whl")
    return wheel


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("headrace/")}


def sources() -> set[str]:
    """Everything that belongs into it."""
    src = ROOT / "src"
    files = (
        path for path in (src / "headrace").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(src).as_posix() for path in files}


def install(wheel: Path, folder: Path, *, dependencies: bool) -> Path:
    """The command in a new environment that knows nothing of the sources."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    more = ["--constraint", str(ROOT / "constraints.txt")] if dependencies else ["--no-deps"]
    subprocess.run([*pip, *more, str(wheel)], check=True)
    if not dependencies:
        _borrow(folder)
    return folder / "bin" / "headrace"


def _borrow(folder: Path) -> None:
    """The packages of this environment, after the wheel's own; a .pth in a folder so named is not read."""
    [site] = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


if __name__ == "__main__":
    from commands.test_wheel import serves

    with tempfile.TemporaryDirectory() as temporary:
        there = Path(temporary)
        serves(install(build(there), there / "venv", dependencies="--dependencies" in sys.argv), there)
        print("The wheel installs and serves.")
