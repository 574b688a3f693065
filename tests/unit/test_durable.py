"""What is synced is what was named, and it is let go of again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.durable import sync


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were synced, in their order."""
    paths: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: paths.append(Path(f"/proc/self/fd/{handle}").readlink()))
    return paths


def test_a_file_and_a_folder(tmp_path: Path, synced: list[Path]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    handles = open_files()
    sync(file)
    sync(tmp_path)
    assert synced == [file, tmp_path]
    assert open_files() == handles


def test_what_is_not_there_cannot_be_synced(tmp_path: Path, synced: list[Path]) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nothing")
    assert synced == []


def test_a_disk_that_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    handles = open_files()
    with pytest.raises(OSError, match="Input/output"):
        sync(tmp_path)
    assert open_files() == handles
