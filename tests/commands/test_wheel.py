"""The wheel is whole: built from here, installed without the sources, it serves and is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from commands import wheel
from harness import RunningServer


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("wheel"))


def test_it_has_all_that_stands_here(built: Path) -> None:
    assert wheel.names(built) == wheel.sources()
    assert {"headrace/py.typed", "headrace/metadata/migrations/versions/0001_first.py"} <= wheel.names(built)


def test_it_installs_and_serves(built: Path, tmp_path: Path) -> None:
    serves(wheel.install(built, tmp_path / "venv", dependencies=False), tmp_path)


def serves(headrace: Path, folder: Path) -> None:
    """A push and a query, by the installed command against the installed server, outside of the sources."""
    env = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    python = headrace.with_name("python")
    located = [str(python), "-c", "import headrace; print(headrace.__file__)"]
    where = subprocess.run(located, capture_output=True, text=True, check=True, cwd=folder).stdout
    assert where.startswith(str(headrace.parents[1]))
    (folder / "t.csv").write_text("a\n1\n")
    with RunningServer(folder / "data", python=str(python)) as server:
        env |= {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.admin_key}
        for words in (
            ["pools", "create", "p"],
            ["push", "t.csv", "--pool", "p", "--table", "t"],
            ["sql", "SELECT a FROM t", "--pool", "p", "-o", "csv"],
        ):
            out = subprocess.check_output([str(headrace), *words], text=True, env=env, cwd=folder)
    assert out == "a\n1\n"
