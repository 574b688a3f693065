"""What a child is given that asks for files: pieces of its own lake, and an answer to nothing else."""

from __future__ import annotations

import random
from collections import Counter
from multiprocessing import Pipe

import pytest

from headrace.errors import StorageUnreachable
from headrace.tables.asking import LARGEST_PIECE, QUESTION, READ, Asked
from headrace.tables.serving import AskingChild, Blocks, ServedObjects

MB = 1 << 20
DATA = random.Random(1).randbytes(9 * MB + 17)


class Store:
    """``pools/own/data/t`` alone."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.away = False

    def size(self, key: str) -> int:
        return len(self._found(key, "size"))

    def piece(self, key: str, offset: int, length: int) -> bytes:
        return self._found(key, "piece")[offset : offset + length]

    def _found(self, key: str, what: str) -> bytes:
        self.asked[what] += 1
        if self.away:
            raise StorageUnreachable
        if key != "pools/own/data/t":
            raise FileNotFoundError(key)
        return DATA


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def served(store: Store) -> ServedObjects:
    return ServedObjects(Blocks(store), "pools/own/data")  # type: ignore[arg-type]


def test_every_piece_is_that_of_the_file(served: ServedObjects) -> None:
    chance = random.Random(2)
    assert served.size("t") == len(DATA)
    for _ in range(200):
        offset, length = chance.randrange(len(DATA) + 5), chance.choice([1, 100, MB, 3 * MB, 7 * MB])
        assert served.read("t", offset, length) == DATA[offset : offset + length]


def test_what_was_read_is_not_asked_for_again(served: ServedObjects, store: Store) -> None:
    for _ in range(3):
        served.read("t", 100, 2 * MB)
        served.read("t", len(DATA) - 5, 5)
    assert store.asked == {"size": 1, "piece": 4}


@pytest.mark.parametrize(
    "path", ["", "none", "../data/t", "a/../t", "./t", "/t", "t/", "../../other/data/t", "//t"]
)
def test_there_is_no_way_out_of_a_lake(served: ServedObjects, path: str) -> None:
    for act in (lambda: served.size(path), lambda: served.read(path, 0, 9)):
        with pytest.raises(FileNotFoundError):
            act()


class Child(AskingChild):
    """The server's end without a process."""

    def __init__(self) -> None:
        self._asked, self.theirs = Pipe()
        self._fault = None


def test_a_child_asks_by_its_pipe(served: ServedObjects) -> None:
    child = Child()
    child.serve(served)
    asked = Asked(child.theirs)
    assert asked.size("t") == len(DATA)
    assert asked.read("t", 3, len(DATA)) == DATA[3:]
    assert asked.read("t", len(DATA), 9) == b""
    with pytest.raises(FileNotFoundError):
        asked.read("other", 0, 1)
    child.theirs.send_bytes(QUESTION.pack(READ, 0, 1 << 60) + b"t")
    assert len(child.theirs.recv_bytes()) == LARGEST_PIECE + 1
    child.theirs.close()


def test_a_store_that_is_away_is_told_as_such(served: ServedObjects, store: Store) -> None:
    child, store.away = Child(), True
    child.serve(served)
    with pytest.raises(OSError, match="cannot be reached"):
        Asked(child.theirs).size("t")
    assert isinstance(child._fault, StorageUnreachable)
    child.theirs.close()


@pytest.mark.parametrize("said", [b"", b"x", QUESTION.pack(READ, 0, 1) + b"\xff", b"x" * 10_000])
def test_whoever_says_something_else_is_hung_up_on(served: ServedObjects, said: bytes) -> None:
    child = Child()
    child.serve(served)
    child.theirs.send_bytes(said)
    with pytest.raises((EOFError, ConnectionResetError)):
        child.theirs.recv_bytes()
    child.theirs.close()
