"""What was found of the mutants, and the page that says so: docs/mutants.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutants.md"
FOUND = Path(__file__).with_name("found.json")
"""What the runs found, so that one of a single module leaves the figures of the others."""

EXPLAINED = Path(__file__).with_name("explained.json")
"""Why survivors are left alive: by module, and by a part of the change."""

_U = "tests/unit/test_"
TESTS: dict[str, tuple[str, ...]] = {
    "permissions": (f"{_U}permissions.py",),
    "access": (f"{_U}access.py",),
    "keys": (f"{_U}keys.py", f"{_U}access.py"),
    "tokens": (f"{_U}tokens.py",),
    "web/rules": (f"{_U}rules.py",),
    "metadata/claims": (f"{_U}claims.py", f"{_U}undoings.py"),
    "agreeing": (f"{_U}agreeing.py",),
    "reducing": (f"{_U}reducing.py",),
    "loading": (f"{_U}loading.py",),
    "worker": (f"{_U}worker.py", f"{_U}worker_wanted.py"),
}
"""The modules, and the quick tests that are to kill their mutants."""


@dataclass(frozen=True)
class Found:
    """Of one module: how many mutants, and the changes that nothing noticed."""

    mutants: int
    survivors: list[str]

    @property
    def killed(self) -> int:
        return self.mutants - len(self.survivors)


def write(found: dict[str, Found]) -> None:
    ordered = {name: vars(found[name]) for name in TESTS if name in found}
    FOUND.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(read()))


def read() -> dict[str, Found]:
    told = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    return {name: Found(**found) for name, found in told.items()}


# -- the page ------------------------------------------------------------------------------------------


def page(found: dict[str, Found]) -> str:
    return "\n".join([*_head(found), *_survivors(found)]) + "\n"


_WHAT = (
    "How much quick tests notice: each mutant is a module with one small change within a function, made by",
    "mutmut, and is killed if one of the named tests fails with it. Tests against a whole server are not",
    "asked, and notice more. Written by `make mutants`; a module that is not in the table was not run.",
)


def _head(found: dict[str, Found]) -> Iterator[str]:
    yield "# Mutants"
    yield ""
    yield from _WHAT
    yield ""
    yield "| module | mutants | killed | share | tests |"
    yield "|---|---|---|---|---|"
    for module, result in found.items():
        share = f"{result.killed / result.mutants:.0%}"
        tests = ", ".join(f"`{test}`" for test in TESTS[module])
        yield f"| `{module}.py` | {result.mutants} | {result.killed} | {share} | {tests} |"


def _survivors(found: dict[str, Found]) -> Iterator[str]:
    explained = json.loads(EXPLAINED.read_text()) if EXPLAINED.exists() else {}
    for module, result in found.items():
        if not result.survivors:
            continue
        yield from ("", f"## Survivors of {module}.py", "")
        why: dict[str, str] = explained.get(module, {})
        for survivor in result.survivors:
            reason = next((text for part, text in why.items() if part in survivor), "not explained")
            yield f"- {reason}: `` {survivor.replace('``', '´´')} ``"
