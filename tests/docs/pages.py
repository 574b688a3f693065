"""The snippets of a page as files and commands, run in their order.

A fenced block of bash is run, one with a title is the file of that name, and a block of text behind a command
is its output, word for word. On a page with several terminals the titles of its commands say which is whose.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.S | re.M)
_END = "-- the end of a block --"


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks_of(page: str) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall((ROOT / "docs" / page).read_text())]


def commands(blocks: Iterable[Block], terminal: str = "") -> list[tuple[str, str | None]]:
    """The commands of one terminal, each with the output that is written behind it."""
    found: list[tuple[str, str | None]] = []
    for block in blocks:
        if block.language == "bash" and block.title == terminal:
            found.append((block.text, None))
        elif block.language == "text" and found:
            found[-1] = (found[-1][0], block.text.strip())
    return found


def write_files(blocks: Iterable[Block], folder: Path) -> None:
    for block in blocks:
        if block.title and block.language != "bash":
            (folder / block.title).write_text(block.text)


def environment(**more: str) -> dict[str, str]:
    """As in a fresh terminal: the installation's programs, and no proxy between us and the server."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "no_proxy": "*", **more}


def run(wanted: Sequence[tuple[str, str | None]], folder: Path, env: Mapping[str, str]) -> None:
    """Run all commands in one shell, which stops at the first error; compare what each prints."""
    script = "".join(f"{command}\necho; echo '{_END}'\n" for command, _ in wanted)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [part.strip() for part in done.stdout.split(_END)]
    for (command, expected), output in zip(wanted, printed, strict=False):
        assert expected is None or output == expected, f"{command}\nprinted:\n{output}"
