"""The memory of pushes under way: the same call finds its job again, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.client.journal import opened_journal

ASKED = {"pool": "p", "table": "t", "files": ["a.csv"]}

KILLED = """
import os, signal
from headrace.client.journal import opened_journal
with opened_journal({"pool": "p", "table": "t", "files": ["a.csv"]}, again=True) as journal:
    journal.remember("job 1")
    (journal.parts / "0.parquet").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "headrace" / "pushes"


def test_the_same_call_finds_its_job_again() -> None:
    with opened_journal(ASKED, again=True) as journal:
        assert journal.job() is None
        journal.remember("job 1")
    with opened_journal({**ASKED}, again=True) as journal:
        assert journal.job() == "job 1"
        journal.forget()
    with opened_journal(ASKED, again=True) as journal:
        assert journal.job() is None


def test_another_call_does_not() -> None:
    with opened_journal(ASKED, again=True) as journal:
        journal.remember("job 1")
    with opened_journal({**ASKED, "table": "u"}, again=True) as journal:
        assert journal.job() is None


def test_two_at_once_do_not_share_a_job() -> None:
    with opened_journal(ASKED, again=True) as first, opened_journal(ASKED, again=True) as second:
        first.remember("job 1")
        assert second.job() is None
        assert first.parts != second.parts
        second.remember("job 2")
    with opened_journal(ASKED, again=True) as later:
        assert later.job() == "job 1"


def test_what_cannot_be_read_twice_leaves_nothing(cache: Path) -> None:
    with opened_journal(ASKED, again=False) as journal:
        journal.remember("job 1")
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_one_that_was_killed_is_gone_on_with_without_its_files() -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False, env={**os.environ})
    with opened_journal(ASKED, again=True) as journal:
        assert journal.job() == "job 1"
        assert list(journal.parts.iterdir()) == []


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}"])
def test_a_broken_memory_is_none(broken: str) -> None:
    with opened_journal(ASKED, again=True) as journal:
        journal.path.write_text(broken)
        assert journal.job() is None
