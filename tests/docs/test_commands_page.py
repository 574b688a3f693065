"""docs/commands.md is what the commands say of themselves."""

from __future__ import annotations

from docs.commands_page import PAGE, page


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text() == page(), "run 'make commands'"


def test_the_page_has_what_a_person_looks_for() -> None:
    text = page()
    assert "## headrace push\n\n    headrace push FILES… [options]\n" in text
    assert "| `--delta`, `--replace` |" in text
    assert "| `--table` | name of the table (needed) |" in text
