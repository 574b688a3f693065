"""How pages write numbers, bytes, durations and shares."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.console.showing import duration, moment, number, percent, segment, size


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0"), (999, "999"), (1234567, "1\u202f234\u202f567")]
)
def test_numbers(value: int | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (69.5e9, "69.5 GB"), (2e18, "2000 PB")],
)
def test_sizes(value: float | None, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (60_000, "1 min 0 s"),
        (3_660_000, "1 h 1 min"),
    ],
)
def test_durations(ms: float | None, shown: str) -> None:
    assert duration(ms) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.25, "25 %"), (0.123, "12.3 %"), (1e-6, "< 0.1 %"), (0.99999, "> 99.9 %")],
)
def test_shares(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_moments_and_segments() -> None:
    assert moment(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2024-01-02 03:04:05"
    assert moment(None) == "–"
    assert segment("a/b ü?") == "a%2Fb%20%C3%BC%3F"
