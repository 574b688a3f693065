"""One table of settings: every bound holds, every name is an environment's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.settings import Settings, StringProfile


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADRACE_{name.upper()}", raising=False)


def bounds() -> list[Any]:
    """Name, a value at the edge, one beyond it."""
    found = []
    for name, field in Settings.model_fields.items():
        step = 1 if field.annotation is int else 0.5
        for limit in field.metadata:
            for kind, inside, beyond in (
                ("ge", 0, -step),
                ("gt", step, 0),
                ("le", 0, step),
                ("lt", -step, 0),
            ):
                if (edge := getattr(limit, kind, None)) is not None:
                    found.append(pytest.param(name, edge + inside, edge + beyond, id=f"{name} {kind} {edge}"))
    return found


@pytest.mark.parametrize(("name", "inside", "beyond"), bounds())
def test_a_bound(name: str, inside: float, beyond: float) -> None:
    assert getattr(Settings(**{name: inside}), name) == inside
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: beyond})


def test_every_number_has_a_lower_bound() -> None:
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
    assert numbers == {param.id.split()[0] for param in bounds() if " g" in str(param.id)}


SAID = [
    ("data_dir", "/srv/h", Path("/srv/h")),
    ("host", "::1", "::1"),
    ("port", "0", 0),
    ("tls", "true", True),
    ("tls", "0", False),
    ("string_profile", "celonis", StringProfile.CELONIS),
    ("drain_seconds", "1.5", 1.5),
]


@pytest.mark.parametrize(("name", "said", "meant"), SAID)
def test_the_environment_speaks(name: str, said: str, meant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", said)
    assert getattr(Settings(), name) == meant


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PORT", "1111")
    monkeypatch.setenv("PORT", "2222")
    assert Settings().port == 1111
    assert Settings(port=3333).port == 3333


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("port", "http"),
        ("port", "65536"),
        ("string_profile", "sap"),
        ("tls", "maybe"),
        ("sql_seconds", "nan"),
    ],
)
def test_nonsense_is_refused(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", said)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(port=-1, load_workers=0, sql_rows=0)
    assert {error["loc"] for error in caught.value.errors()} == {("port",), ("load_workers",), ("sql_rows",)}


def test_a_setting_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="prot"):
        Settings(prot=8080)  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_every_setting_has_a_default_and_a_sentence() -> None:
    settings = Settings()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name
    assert 1 <= settings.staging_processes <= 8
