"""Executes are counted for all servers of an installation: never more than a window may have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.metadata import Metadata
from headrace.model import SubmissionLimits

CELONIS = SubmissionLimits(per_second=10, per_hour=250)
HOUR = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture
def metadata(database: Path | str) -> Iterator[Metadata]:
    opened = Metadata(database)
    yield opened
    opened.close()


def taken(metadata: Metadata, at: datetime, tries: int) -> int:
    return sum(metadata.submissions.take(CELONIS, at) is None for _ in range(tries))


def test_ten_in_a_second(metadata: Metadata) -> None:
    assert taken(metadata, HOUR, 12) == 10
    assert metadata.submissions.take(CELONIS, HOUR) == timedelta(seconds=1)
    assert taken(metadata, HOUR + timedelta(seconds=0.999), 1) == 0
    assert taken(metadata, HOUR + timedelta(seconds=1), 12) == 10


def test_at_the_edge_of_a_full_hour(metadata: Metadata) -> None:
    """250 in the 25 seconds before it, none in the last ones, and 250 more right after."""
    eve = HOUR - timedelta(seconds=30)
    assert sum(taken(metadata, eve + timedelta(seconds=n), 11) for n in range(25)) == 250
    assert metadata.submissions.take(CELONIS, eve + timedelta(seconds=26)) == timedelta(seconds=4)
    last = HOUR - timedelta(microseconds=1)
    assert metadata.submissions.take(CELONIS, last) == timedelta(microseconds=1)
    assert taken(metadata, HOUR, 11) == 10
    assert sum(taken(metadata, HOUR + timedelta(seconds=n), 11) for n in range(1, 60)) == 240
    assert metadata.submissions.take(CELONIS, HOUR + timedelta(seconds=60)) == timedelta(minutes=59)


def test_the_hour_is_that_of_utc(metadata: Metadata) -> None:
    """Half an hour in Kolkata is a full one in UTC."""
    assert sum(taken(metadata, HOUR - timedelta(minutes=n), 10) for n in range(30, 1, -1)) == 250
    assert taken(metadata, HOUR, 1) == 1


def test_a_refused_one_does_not_count(metadata: Metadata) -> None:
    for second in range(24):
        assert taken(metadata, HOUR + timedelta(seconds=second), 50) == 10
    assert taken(metadata, HOUR + timedelta(seconds=30), 50) == 10
    assert taken(metadata, HOUR + timedelta(seconds=31), 50) == 0


def test_clocks_that_differ_share_one_window(metadata: Metadata) -> None:
    """A server that is a second behind gets no second ten."""
    assert taken(metadata, HOUR + timedelta(seconds=5), 6) == 6
    assert taken(metadata, HOUR + timedelta(seconds=4), 6) == 4


def test_a_clock_that_was_far_ahead_closes_nothing_for_years(metadata: Metadata) -> None:
    assert taken(metadata, HOUR + timedelta(days=3650), 10) == 10
    assert taken(metadata, HOUR, 10) == 10


SERVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path

from headrace.metadata import Metadata
from headrace.model import SubmissionLimits

where = sys.argv[1]
metadata = Metadata(where if "://" in where else Path(where))
print("ready", flush=True)
for line in sys.stdin:
    at = datetime.fromtimestamp(int(line), UTC)
    print(sum(metadata.submissions.take(SubmissionLimits(10, 250), at) is None for _ in range(8)), flush=True)
"""


def test_two_servers_share_one_limit(metadata: Metadata, database: Path | str) -> None:
    """Two processes on one database, both asking eight times a second, with one clock, around a full hour."""
    command = [sys.executable, "-c", SERVER, str(database)]
    servers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]

    def heard() -> list[str]:
        return [server.stdout.readline().strip() for server in servers if server.stdout]

    def both_in(second: int) -> list[int]:
        for server in servers:
            assert server.stdin
            print(int(HOUR.timestamp()) + second, file=server.stdin, flush=True)
        return list(map(int, heard()))

    assert heard() == ["ready", "ready"]
    before = [both_in(second) for second in range(-28, 0)]
    after = [both_in(second) for second in range(8)]
    for server in servers:
        server.communicate(timeout=60)
        assert server.returncode == 0
    assert [sum(given) for given in before] == [10] * 25 + [0] * 3
    assert [sum(given) for given in after] == [10] * 8
    assert all(sum(given[n] for given in before) > 0 for n in range(2)), "both got some"
