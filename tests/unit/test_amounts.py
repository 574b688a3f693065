"""Money stays exact: whatever numbers a file has, each is stored as it is, or is a reject."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.lattice import FLOAT_DIGITS
from headrace.model import FLOAT, Column, ColumnKind, FileType, decimal
from stagings import Staged, stage, staging_engine

MONEY = Column("amount", decimal(18, 2))

amounts = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places),
    st.integers(-(10**30), 10**30) | st.integers(-9999, 9999),
    st.integers(0, 12),
)


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    with staging_engine():
        yield


def staged(numbers: list[Decimal]) -> Staged:
    lines = "".join(f"{number:f}\n" for number in numbers)
    with TemporaryDirectory() as folder:
        return stage(Path(folder), FileType.CSV, f"amount\n{lines}".encode(), MONEY)


@settings(max_examples=60, deadline=None)
@given(st.lists(amounts, min_size=1, max_size=8))
def test_every_number_is_stored_as_it_is_or_is_a_reject(numbers: list[Decimal]) -> None:
    found = staged(numbers)
    [column] = found.report.columns
    stored = [Decimal(repr(value)) if column.type == FLOAT else value for (value,) in found.rows]
    rejected = [Decimal(reject["value"]) for reject in found.rejects]
    assert sorted([*stored, *rejected]) == sorted(numbers)


@settings(max_examples=60, deadline=None)
@given(st.lists(amounts, min_size=1, max_size=8))
def test_a_column_that_a_float_would_change_is_named(numbers: list[Decimal]) -> None:
    found = staged(numbers)
    [column] = found.report.columns
    long = (
        any(len(number.normalize().as_tuple().digits) > FLOAT_DIGITS for (number,) in found.rows)
        if (column.type.kind is ColumnKind.DECIMAL)
        else False
    )
    assert not long or found.report.beyond_float == ("amount",)


@pytest.mark.parametrize(
    ("numbers", "type"),
    [
        (["1.5", "2.25"], decimal(18, 2)),
        (["1.500"], decimal(18, 2)),
        (["12345678901234567.5"], decimal(38, 2)),
        (["1.005"], decimal(38, 3)),
        (["1e300"], FLOAT),
    ],
)
def test_the_narrowest_type_is_taken(numbers: list[str], type: object) -> None:
    with TemporaryDirectory() as folder:
        found = stage(Path(folder), FileType.CSV, ("amount\n" + "\n".join(numbers)).encode(), MONEY)
    assert found.report.columns[0].type == type
    assert not found.rejects
