"""How much a test compared, said in its output: a number of cases is worth more than a dot."""

from __future__ import annotations


def counted(name: str, cases: int, differences: int) -> None:
    print(f"{name}: {cases} cases, {differences} differences")
