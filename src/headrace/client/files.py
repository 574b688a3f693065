"""Files that are pushed: which ones a path or glob means, and of which kind each is."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import InvalidRequest

KINDS = ("CSV", "PARQUET", "NDJSON", "ARROW")

_BY_MAGIC = ((b"PAR1", "PARQUET"), (b"ARROW1", "ARROW"), (b"\xff\xff\xff\xff", "ARROW"))
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_BY_NAME = {".ndjson": "NDJSON", ".jsonl": "NDJSON", ".arrow": "ARROW", ".arrows": "ARROW"}
_PACKED_NAMES = (".gz", ".zst", ".zstd")


def files_of(data: Any) -> Sequence[Path] | None:
    """The files of a path or a glob, or of several; None if the data is no path. Raises FileNotFoundError."""
    several = data if isinstance(data, list | tuple) else [data]
    if not several or not all(isinstance(one, str | os.PathLike) for one in several):
        return None
    return [path for one in several for path in _matching(os.fspath(one))]


def _matching(spelled: str) -> Sequence[Path]:
    if Path(spelled).is_file():
        return [Path(spelled)]
    names = glob.glob(spelled, recursive=True)  # noqa: PTH207  absolute patterns, too
    found = sorted(Path(name) for name in names if Path(name).is_file())
    if not found:
        raise FileNotFoundError(f"There is no file {spelled}.")
    return found


def kind_of(files: Sequence[Path]) -> str:
    """Of all files of a push: they are chunks of one job. Raises InvalidRequest."""
    kinds = {kind_by(first_bytes(file), file.name) for file in files}
    if len(kinds) > 1:
        raise InvalidRequest(
            f"The files are of several kinds ({', '.join(sorted(kinds))}): push them one after the other."
        )
    return kinds.pop() if kinds else "PARQUET"


def kind_by(start: bytes, name: str = "") -> str:
    """By the first bytes, whatever the name is; text by its name, and CSV if that says nothing."""
    for magic, kind in _BY_MAGIC:
        if start.startswith(magic):
            return kind
    path = Path(name)
    if path.suffix.lower() in _PACKED_NAMES:
        path = path.with_suffix("")
    return _BY_NAME.get(path.suffix.lower(), "CSV")


def first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def is_text(start: bytes) -> bool:
    """Whether records can be told in it: it is neither packed nor binary."""
    return not start.startswith((*_PACKED, *(magic for magic, _ in _BY_MAGIC)))
