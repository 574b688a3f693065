"""Real processes and what they cost: CPU seconds and peak memory as the system counts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil


class Server:
    """A Headrace server on a free port."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(data_dir), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = next(line for line in self.process.stdout if "is ready at" in line)
        self.url = line.split()[-1]
        key = (data_dir / "admin-key").read_text().strip()
        self.key = key
        self.headers = {"Authorization": f"AppKey {key}"}
        self.api = httpx.Client(base_url=self.url, headers=self.headers, timeout=600)

    def cpu(self) -> float:
        """CPU seconds of the server's own process."""
        return own_cpu(self.process.pid)

    def children_cpu(self) -> float:
        """CPU seconds of its children that live."""
        return sum(own_cpu(child.pid) for child in psutil.Process(self.process.pid).children(recursive=True))

    def tree_cpu(self) -> float:
        """CPU seconds of the server and of its children that live."""
        return self.cpu() + self.children_cpu()

    def peak_mb(self) -> tuple[float, float]:
        """Peak memory since ``forget_peak``: of the server's own process, and of it and its children."""
        pids = self._pids()
        peaks = [peak_mb(pid) for pid in pids]
        return peaks[0], sum(peaks)

    def forget_peak(self) -> None:
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(child.pid for child in children)]

    def stop(self) -> None:
        self.api.close()
        self.process.terminate()
        self.process.wait(60)


@contextmanager
def sinks(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """The comparison server: its URL, and its CPU seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sinks", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        port = process.stdout.readline().strip()
        yield f"http://127.0.0.1:{port}", lambda: own_cpu(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def own_cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def this_cpu() -> float:
    times = os.times()
    return times.user + times.system


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
