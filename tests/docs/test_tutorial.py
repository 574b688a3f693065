"""The tutorial, word for word: from the folder of the source to a table that another process reads."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks_of, commands, environment, run, write_files
from harness import wait_for

BLOCKS = blocks_of("tutorial.md")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the tutorial makes its folder; its files are written as its reader writes them."""
    (tmp_path / "headrace-tour").mkdir()
    write_files(BLOCKS, tmp_path / "headrace-tour")
    return tmp_path


@pytest.fixture
def first_terminal(home: Path) -> Iterator[Path]:
    """What it shows. Only the port is another one than the reader's: that one may be taken here."""
    [(command, _)] = commands(BLOCKS, "first terminal")
    shown = home / "shown"
    with shown.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=ROOT,
            env=environment(HOME=str(home), HEADRACE_PORT="0"),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield shown
    os.killpg(shell.pid, signal.SIGINT)  # Ctrl-C
    shell.wait(60)


def test_word_for_word(home: Path, first_terminal: Path) -> None:
    ready = wait_for(
        lambda: [line for line in first_terminal.read_text().splitlines() if "is ready at" in line], 240
    )
    url = ready[0].split()[-1]
    wanted = commands(BLOCKS, "second terminal")
    assert sum(expected is not None for _, expected in wanted) == 4
    run(wanted, ROOT, environment(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), URL=url))


def test_every_block_is_used() -> None:
    assert {block.language for block in BLOCKS if not block.title} <= {"text"}
