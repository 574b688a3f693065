"""Real children that belong to a key: who gets which, who stays, who goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from harness import wait_for
from headrace.children import Child, ChildDied, Last, Spoiled, limit_memory
from headrace.errors import NotFound, QueryRefused
from headrace.warmchildren import NoneFree, WarmChildren

PATIENCE = 30


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., WarmChildren]]:
    made: list[WarmChildren] = []

    def start(running: int = 1, idle: int = 2, spare: bool = False) -> WarmChildren:
        child = partial(Child, limit_memory, (256,), frozenset({QueryRefused}))
        made.append(WarmChildren(tmp_path, child, running=running, idle=idle, spare=spare))
        return made[-1]

    yield start
    for children in made:
        children.stop()


def used(children: WarmChildren, key: str) -> int:
    with children.borrowed(key, PATIENCE) as warm:
        return int(warm.child.run(os.getpid, (), PATIENCE))


def test_a_key_finds_its_child_again(started: Callable[..., WarmChildren]) -> None:
    children = started()
    first, other = used(children, "a"), used(children, "b")
    assert first != other
    assert [used(children, key) for key in "abab"] == [first, other, first, other]
    assert set(children.pids()) == {first, other}


def test_the_child_used_longest_ago_goes(started: Callable[..., WarmChildren], tmp_path: Path) -> None:
    children = started(idle=2)
    pids = {key: used(children, key) for key in "abac"}
    assert set(children.pids()) == {pids["a"], pids["c"]}
    assert len(list(tmp_path.iterdir())) == 2  # its home went with it


def test_what_is_known_of_a_child_and_its_home_stay_with_it(started: Callable[..., WarmChildren]) -> None:
    children = started()
    with children.borrowed("a", PATIENCE) as warm:
        assert warm.state is None
        warm.state = "bound"
        (warm.home / "file").touch()
    with children.borrowed("a", PATIENCE) as warm:
        assert warm.state == "bound"
        pid = warm.child.pid
        children.renew(warm)
        assert (warm.state, warm.child.pid != pid) == (None, True)
        assert (warm.home / "file").exists()
        assert warm.child.run(os.getpid, (), PATIENCE) == warm.child.pid


def test_a_spare_is_on_its_way_and_taken(started: Callable[..., WarmChildren]) -> None:
    children = started(spare=True)
    used(children, "a")
    spare = wait_for(lambda: children._spare, PATIENCE, "a spare child")
    assert used(children, "b") == spare.child.pid


def test_a_dead_child_is_replaced(started: Callable[..., WarmChildren]) -> None:
    children = started()
    pid = used(children, "a")
    with pytest.raises(ChildDied), children.borrowed("a", PATIENCE) as warm:
        warm.child.run(os._exit, (1,), PATIENCE)
    assert used(children, "a") != pid


def test_only_so_many_run(started: Callable[..., WarmChildren]) -> None:
    children = started(running=1)
    with children.borrowed("a", PATIENCE), pytest.raises(NoneFree), children.borrowed("a", 0.05):
        raise AssertionError("two at once")


def test_a_key_can_be_ended(started: Callable[..., WarmChildren]) -> None:
    children = started()
    first, other = used(children, "a"), used(children, "b")
    children.end(lambda key: key == "a")
    assert children.pids() == [other]
    assert used(children, "a") != first


def test_nothing_starts_after_the_stop(started: Callable[..., WarmChildren]) -> None:
    children = started(spare=True)
    used(children, "a")
    children.stop()
    assert children.pids() == []
    with pytest.raises(ChildDied):
        used(children, "a")


# -- what a child may say ------------------------------------------------------------------------------


def raises(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("answer", ["Path('x')", "__import__('headrace.errors').errors.NotFound()"])
def test_an_answer_of_another_class_is_none(started: Callable[..., WarmChildren], answer: str) -> None:
    """It would be made here, and a class is code."""
    children = started()
    with children.borrowed("a", PATIENCE) as warm:
        assert warm.child.run(eval, ("[1, 'x', None, {'a': 1.5}]",), PATIENCE) == [1, "x", None, {"a": 1.5}]
        with pytest.raises(ChildDied):
            warm.child.run(eval, (f"__import__('pathlib') and {answer}".replace("Path", PATH),), PATIENCE)


PATH = "__import__('pathlib').Path"


def test_errors_of_the_named_classes_come_through(started: Callable[..., WarmChildren]) -> None:
    children = started()
    with children.borrowed("a", PATIENCE) as warm:
        with pytest.raises(QueryRefused, match="so"):
            warm.child.run(eval, (RAISE.format("QueryRefused('so')"),), PATIENCE)
        with pytest.raises(ValueError, match="so"):
            warm.child.run(eval, ("int('so')",), PATIENCE)
        with pytest.raises(ChildDied):
            warm.child.run(eval, (RAISE.format("NotFound('so')"),), PATIENCE)
    assert NotFound  # the class is there, and not meant


RAISE = "(_ for _ in ()).throw(__import__('headrace.errors', fromlist=['x']).{})"


def test_a_spoiled_child_ends_and_its_error_counts(started: Callable[..., WarmChildren]) -> None:
    children = started()
    with children.borrowed("a", PATIENCE) as warm:
        with pytest.raises(QueryRefused, match="so"):
            warm.child.run(spoil, (), PATIENCE)
        assert not warm.child.alive


def spoil() -> None:
    raise Spoiled(QueryRefused("so"))


def test_a_last_result_counts_and_its_child_ends(started: Callable[..., WarmChildren]) -> None:
    children = started()
    with children.borrowed("a", PATIENCE) as warm:
        assert warm.child.run(last, (), PATIENCE) == 7
        assert not warm.child.alive


def last() -> Last[int]:
    return Last(7)
