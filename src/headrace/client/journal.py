"""What is remembered of pushes under way, so that the same call goes on where it stopped.

One small file a push, named by what was asked for; it holds the id of the job and nothing that is secret.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Journal:
    """The memory of one push, and a folder for its files."""

    path: Path

    @property
    def parts(self) -> Path:
        return self.path.with_suffix(".parts")

    def job(self) -> str | None:
        """The job of an earlier try of the same push."""
        with suppress(OSError, ValueError, KeyError, TypeError):  # what a power loss left of it is none
            return str(json.loads(self.path.read_text())["job"])
        return None

    def remember(self, job_id: str) -> None:
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps({"job": job_id}))
        whole.replace(self.path)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


@contextmanager
def opened_journal(asked: Any, *, again: bool) -> Iterator[Journal]:
    """The journal of what was asked; a new one if that cannot be done ``again``, or is being done already."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace" / "pushes"
    base.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]
    with (base / f"{name}.lock").open("w") as lock:
        resumes = again and _locked(lock.fileno())
        journal = Journal(base / (name if resumes else uuid4().hex))
        shutil.rmtree(journal.parts, ignore_errors=True)  # of a try that was killed
        journal.parts.mkdir()
        try:
            yield journal
        finally:
            shutil.rmtree(journal.parts)
            if not resumes:
                journal.forget()


def _locked(handle: int) -> bool:
    """The lock goes with the process, however it ends."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
