"""The mutants of a module, made by mutmut: one source that has all of them, and what each changes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents

_NAME = re.compile(r"(?P<of>x(?:ǁ|_)(?:(?P<owner>\w+?)ǁ)?(?P<name>\w+?))__mutmut_\d+$")


@dataclass(frozen=True)
class Mutated:
    """``source`` is that of the module, in which each mutant can be switched on by its name."""

    source: str
    changes: Mapping[str, str]
    """By the name of the mutant: ``function: before → after``, of the lines that differ."""


def mutated(source: str) -> Mutated:
    made = mutate_file_contents("a module", source)
    return Mutated(made.code, {name: _change(made, name) for name in made.mutant_names})


def _change(made: MutatedFile, name: str) -> str:
    found = _NAME.match(name)
    assert found is not None, name
    function = f"{found['owner']}.{found['name']}" if found["owner"] else found["name"]
    original = _lines(made, f"{found['of']}__mutmut_orig")
    lines = list(difflib.ndiff(original, _lines(made, name)))
    before = " ".join(line[2:].strip() for line in lines if line.startswith("- "))
    after = " ".join(line[2:].strip() for line in lines if line.startswith("+ "))
    return f"{function}: {before} → {after}"


def _lines(made: MutatedFile, function: str) -> list[str]:
    """Without the names in the first line, which differ always."""
    span = made.line_span_by_function_name[function]
    return [re.sub(r"__mutmut_\w+", "", line) for line in made.code.splitlines()[span.start - 1 : span.end]]
