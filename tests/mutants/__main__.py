"""Run quick tests against every mutant of a few modules, and write docs/mutants.md: ``make mutants``.

A mutant is a module with one small change within a function (mutmut makes them: another operator, another
number, an argument left out). It is killed if one of the module's quick tests fails with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from mutants.making import Mutated, mutated
from mutants.page import ROOT, TESTS, Found, read, write
from mutants.trying import passes_alone, survivors_of


def main() -> None:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)}")
    parser.add_argument("--seconds", type=float, default=60, help="longest time for one mutant")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.within:
        _run(asked.modules[0], asked.seconds)
    elif asked.alone:
        sys.exit(0 if passes_alone(*_parts(asked.modules[0]), asked.alone) else 1)
    else:
        for module in asked.modules:
            _again(module, "--within", "--seconds", str(asked.seconds)).check_returncode()


def _again(module: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own: the module must be new there."""
    return subprocess.run([sys.executable, "-m", "mutants", module, *options], check=False)


def _parts(module: str) -> tuple[str, Mutated, list[str]]:
    of = mutated((ROOT / "src" / "headrace" / f"{module}.py").read_text())
    return f"headrace.{module.replace('/', '.')}", of, [str(ROOT / test) for test in TESTS[module]]


def _run(module: str, seconds: float) -> None:
    start, (name_of, of, tests) = time.monotonic(), _parts(module)
    names = survivors_of(name_of, of, tests, seconds)
    names = [name for name in names if _again(module, "--alone", name).returncode == 0]
    known = read()
    known[module] = Found(len(of.changes), [of.changes[name] for name in names])
    write(known)
    print(f"{module}: {known[module].killed} of {known[module].mutants}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
