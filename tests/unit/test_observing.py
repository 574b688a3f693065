"""What happens is told to all who listen, and no listener can do harm to the work."""

from __future__ import annotations

from structlog.testing import capture_logs

from headrace.observing import Answered, Observation, heard_by, unheard

SEEN = Answered("GET", "/healthz", 200, 0.1)


def test_all_hear_of_it_though_one_fails() -> None:
    heard: list[Observation] = []

    def failing(_seen: Observation) -> None:
        raise ValueError("of the listener")

    with capture_logs() as logged:
        heard_by(heard.append, failing, heard.append)(SEEN)
    assert heard == [SEEN, SEEN]
    assert [(line["event"], line["seen"]) for line in logged] == [
        ("what happened could not be told", "Answered")
    ]


def test_nobody_need_listen() -> None:
    unheard(SEEN)
    heard_by()(SEEN)
