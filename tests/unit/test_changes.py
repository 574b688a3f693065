"""Who hears of a change, and when nobody does any more."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from headrace.changes import MOST_WATCHES, Changes, Watch
from headrace.errors import Draining, Overloaded


@dataclass
class Heard:
    said: list[str] = field(default_factory=list)

    def changed(self) -> None:
        self.said.append("changed")

    def end(self) -> None:
        self.said.append("end")


def watching(changes: Changes, pool: str = "p", by: str = "me") -> tuple[Watch, list[str]]:
    ear = Heard()
    watch = Watch(pool, by, ear)
    changes.begin(watch)
    return watch, ear.said


def test_only_who_looks_at_the_pool_hears() -> None:
    changes = Changes()
    watch, here = watching(changes)
    _, elsewhere = watching(changes, "q")
    changes.tell("p")
    changes.tell(None)
    changes.end(watch)
    changes.tell("p")
    assert (here, elsewhere) == (["changed"], [])


def test_a_session_has_a_few() -> None:
    changes = Changes()
    first, *_ = [watching(changes)[0] for _ in range(MOST_WATCHES)]
    with pytest.raises(Overloaded):
        watching(changes, "q")
    watching(changes, by="somebody else")
    changes.end(first)
    watching(changes)


def test_the_end_of_a_session_is_not_that_of_another() -> None:
    changes = Changes()
    _, mine = watching(changes)
    _, theirs = watching(changes, by="somebody else")
    changes.end_all_of("me")
    assert (mine, theirs) == (["end"], [])


def test_nobody_begins_when_it_is_closed() -> None:
    changes = Changes()
    _, said = watching(changes)
    changes.close()
    assert said == ["end"]
    with pytest.raises(Draining):
        watching(changes)
