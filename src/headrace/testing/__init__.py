"""A real server for the tests of other projects.

::

    from headrace.testing import Server

    with Server(seed="tests/seed.yaml") as server:
        pool = server.pool()
        server.faults.answer(429, retry_after=1, times=2, path="*/chunks/*")
        ...
        server.reset()

With pytest the fixtures ``headrace_server`` and ``headrace_pool`` are there by themselves. docs/testing.md
has all of it, and how a fault is set from another language.
"""

from headrace.testing.faults import Faults
from headrace.testing.seeds import BadSeed
from headrace.testing.server import CannotStart, Server

__all__ = ["BadSeed", "CannotStart", "Faults", "Server"]
