"""The parts of an installation as queues, and the way of a push through them.

Cores of servers, workers and the database, one load at a time for a table, one commit at a time for a lake:
these are waited for, first come, first served. Requests to S3 are counted, not waited for. Left out: the
network, the turns that pools take, failures, and waiting that is no queue (a commit's round trips).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import simpy

from bench.simulation.costs import Costs
from bench.simulation.workload import Arrival, Kind

Steps = Generator[simpy.Event, object, None]

MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many of each."""

    server_cores: int = 4
    worker_cores: int = 8
    database_cores: int = 4


class Station:
    """Cores that work off what waits for them, in order; counts how long they were busy, minute by minute."""

    def __init__(self, world: simpy.Environment, cores: int) -> None:
        self.world = world
        self.cores = cores
        self.resource = simpy.Resource(world, cores)
        self.busy: dict[int, float] = {}

    def work(self, seconds: float) -> Steps:
        if seconds <= 0:
            return
        with self.resource.request() as core:
            yield core
            yield self.world.timeout(seconds)
        self._count(self.world.now - seconds, seconds)

    def _count(self, start: float, seconds: float) -> None:
        while seconds > 0:
            minute = int(start // MINUTE)
            here = min(seconds, (minute + 1) * MINUTE - start)
            self.busy[minute] = self.busy.get(minute, 0.0) + here
            start, seconds = start + here, seconds - here

    @property
    def seconds(self) -> float:
        return sum(self.busy.values())

    def share(self, minute: int) -> float:
        """How much of the cores was busy in that minute."""
        return self.busy.get(minute, 0.0) / (self.cores * MINUTE)


@dataclass
class Seen:
    """What a run has shown; times in seconds."""

    executed: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    """Seconds from execute to DONE, in the order of ``executed``, when that was."""
    queued: dict[int, int] = field(default_factory=dict)
    """The most jobs that were between execute and DONE, by minute."""
    puts: dict[int, int] = field(default_factory=dict)
    gets: dict[int, int] = field(default_factory=dict)
    rows: float = 0.0
    pushed: int = 0

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.waited, share)) if self.waited else 0.0


class Installation:
    def __init__(self, size: Size, costs: Costs) -> None:
        self.world = simpy.Environment()
        self.costs = costs
        self.servers = Station(self.world, size.server_cores)
        self.workers = Station(self.world, size.worker_cores)
        self.database = Station(self.world, size.database_cores)
        self.seen = Seen()
        self._under_way = 0
        self._locks: dict[tuple[str, int], simpy.Resource] = {}
        self._users: dict[tuple[str, int], int] = {}

    def run(self, pushes: Iterable[Arrival]) -> Seen:
        """Everything that arrives, to its end."""
        self.world.process(self._arrive(pushes))
        self.world.run()
        return self.seen

    def _arrive(self, pushes: Iterable[Arrival]) -> Steps:
        for push in pushes:
            if push.at > self.world.now:
                yield self.world.timeout(push.at - self.world.now)
            self.world.process(self._push(push))

    # -- the way of a push --------------------------------------------------------------------------------

    def _push(self, push: Arrival) -> Steps:
        """Create, receive and stage each chunk, execute, load, finish."""
        self.seen.pushed += 1
        yield from self.servers.work(self.costs.create)
        yield self.world.all_of([self.world.process(self._chunk(push)) for _ in range(push.chunks)])
        yield from self.servers.work(self.costs.request)
        executed = self.world.now
        self._count_queue(+1)
        yield from self._load(push)
        self._count_queue(-1)
        self.seen.executed.append(executed)
        self.seen.waited.append(self.world.now - executed)
        self.seen.rows += push.rows
        yield from self.servers.work(self.costs.request * _polls(self.world.now - executed))

    def _chunk(self, push: Arrival) -> Steps:
        rows = push.rows / push.chunks
        size = rows * self.costs.row_csv
        yield from self.servers.work(self.costs.receive + self.costs.receive_gb * size / 1e9)
        self._ask(puts=self.costs.parts(size), gets=0)
        yield from self.workers.work(self.costs.stage + self.costs.stage_million * rows / 1e6)
        self._ask(puts=self.costs.parts(rows * self.costs.row_parquet), gets=1)

    def _load(self, push: Arrival) -> Steps:
        """One at a time for a table; its lake is held for the commit alone."""
        with self._only("table", push.table) as table:
            yield table
            yield from self.database.work(self.costs.statements * self.costs.statement)
            yield from self.workers.work(self._load_seconds(push))
            if push.kind is Kind.DELTA:
                self._ask(puts=2, gets=round(self.costs.scan_gets(push.base)))
            with self._only("lake", push.pool) as lake:
                yield lake
                yield from self.database.work(self.costs.catalog)
        yield from self.workers.work(self.costs.upkeep)

    def _load_seconds(self, push: Arrival) -> float:
        if push.kind is not Kind.DELTA:
            return self.costs.load
        keyed = self.costs.delta_million * push.rows + self.costs.scan_million * push.base
        return self.costs.load + keyed / 1e6

    # -- what is held, what is counted --------------------------------------------------------------------

    @contextmanager
    def _only(self, kind: str, number: int) -> Iterator[simpy.Event]:
        """Held by one at a time; nothing is kept of what nobody waits for."""
        name = (kind, number)
        lock = self._locks.setdefault(name, simpy.Resource(self.world))
        self._users[name] = self._users.get(name, 0) + 1
        with lock.request() as request:
            yield request
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name], self._locks[name]

    def _count_queue(self, more: int) -> None:
        self._under_way += more
        minute = int(self.world.now // MINUTE)
        self.seen.queued[minute] = max(self.seen.queued.get(minute, 0), self._under_way)

    def _ask(self, *, puts: int, gets: int) -> None:
        minute = int(self.world.now // MINUTE)
        self.seen.puts[minute] = self.seen.puts.get(minute, 0) + puts
        self.seen.gets[minute] = self.seen.gets.get(minute, 0) + gets


def _polls(waited: float) -> int:
    """Clients look at once, and then every two seconds."""
    return 1 + int(waited // 2)
