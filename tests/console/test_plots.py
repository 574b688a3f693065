"""Which rows have a picture, and what it shows."""

from __future__ import annotations

import pytest

from headrace.console.plots import BarPlot, LinePlot, plot_of
from headrace.tables import Answer


def answer(*columns: tuple[str, str], rows: list[list[object]]) -> Answer:
    return Answer(columns, rows, truncated=False, milliseconds=1)


DAY, NAME, SUM = ("day", "DATE"), ("name", "VARCHAR"), ("sum", "DECIMAL(18,2)")


@pytest.mark.parametrize(
    "columns",
    [(DAY,), (SUM,), (DAY, NAME), (SUM, ("n", "BIGINT")), (NAME, ("l", "INTEGER[]")), (NAME, ("t", "TIME"))],
)
def test_without_a_name_and_a_number_there_is_none(columns: tuple[tuple[str, str], ...]) -> None:
    assert plot_of(answer(*columns, rows=[["2024-01-01", "1"], ["2024-01-02", "2"]])) is None


def test_a_category_has_bars_from_zero() -> None:
    plot = plot_of(answer(NAME, ("n", "INTEGER"), rows=[["a", 30], ["b", -10], ["c", None], ["d", 0]]))
    assert isinstance(plot, BarPlot)
    assert (plot.x, plot.y, plot.left_out) == ("name", "n", 1)
    assert [(b.name, b.begins, b.width) for b in plot.bars] == [("a", 25, 75), ("b", 0, 25), ("d", 25, 0)]


def test_a_time_has_a_line_in_its_order() -> None:
    days: list[list[object]] = [["2024-01-03", "5.00"], ["2024-01-01", "10.00"], ["2024-01-02", "0.00"]]
    rows: list[list[object]] = [[*row, "x"] for row in days]
    plot = plot_of(answer(DAY, SUM, NAME, rows=rows))
    assert isinstance(plot, LinePlot)
    assert plot.points == "0.0,0.0 500.0,100.0 1000.0,50.0"
    assert (plot.first, plot.last, plot.low, plot.high) == ("2024-01-01", "2024-01-03", 0.0, 10.0)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("TIMESTAMP", "2024-01-01T12:00:00"),
        ("TIMESTAMP WITH TIME ZONE", "2024-01-01T12:00:00+00:00"),
    ],
)
def test_times_with_and_without_a_zone(type: str, value: str) -> None:
    rows: list[list[object]] = [[value, 1.5], [value.replace("2024", "2025"), 1.5]]
    plot = plot_of(answer(("at", type), ("v", "DOUBLE"), rows=rows))
    assert isinstance(plot, LinePlot)
    assert plot.points == "0.0,100.0 1000.0,100.0"  # there is nothing to divide by


def test_the_first_of_name_and_time_says_which_it_is() -> None:
    rows: list[list[object]] = [["a", 1, "2024-01-01"], ["b", 2, "2024-01-01"]]
    assert isinstance(plot_of(answer(NAME, ("n", "INTEGER"), DAY, rows=rows)), BarPlot)
    turned: list[list[object]] = [row[::-1] for row in rows]
    assert plot_of(answer(DAY, ("n", "INTEGER"), NAME, rows=turned)) is None  # a time that comes twice


def test_what_is_too_much_is_left_out_and_said() -> None:
    bars = plot_of(answer(NAME, ("n", "UBIGINT"), rows=[[f"{n}", n] for n in range(1000)]))
    assert isinstance(bars, BarPlot)
    assert (len(bars.bars), bars.left_out) == (30, 970)
    rows: list[list[object]] = [[f"2024-01-01T00:{n // 60 % 60:02}:{n % 60:02}", n] for n in range(3000)]
    line = plot_of(answer(("at", "TIMESTAMP"), ("n", "HUGEINT"), rows=rows))
    assert isinstance(line, LinePlot)
    assert (line.points.count(","), line.left_out) == (500, 2500)


def test_the_largest_numbers_and_those_that_are_none() -> None:
    rows: list[list[object]] = [["a", 1.7e308], ["b", -1.7e308], ["c", "NaN"], ["d", "Infinity"]]
    plot = plot_of(answer(NAME, ("v", "DOUBLE"), rows=rows))
    assert isinstance(plot, BarPlot)
    assert [(b.begins, b.width) for b in plot.bars] == [(50, 50), (0, 50)]
    assert plot.left_out == 2
    assert plot_of(answer(NAME, ("v", "DOUBLE"), rows=[["c", None]])) is None
