"""A real server sends its traces to a collector, by OTLP over HTTP; without one it sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness import RunningServer, create_pool, run_job

ROWS = b"id,v\n1,a-value-of-a-row\n"


class Collector(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: set[str] = set()
        self.sent: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Any]:
        asked = [ExportTraceServiceRequest.FromString(body) for body in self.sent]
        scopes = [scope for one in asked for of in one.resource_spans for scope in of.scope_spans]
        return [span for scope in scopes for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            raise AssertionError("nobody asked for that")
        self.server.paths.add(self.path)
        self.server.sent.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["HEADRACE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_the_trace_of_a_job_arrives(tmp_path: Path, variable: str) -> None:
    with collecting() as collector:
        env = {variable: collector.url, "no_proxy": "*"}
        with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
            job = run_job(api, create_pool(api), "t", [ROWS], fileType="CSV")["id"]
            key = server.admin_key
        assert collector.paths == {"/v1/traces"}
        of_job = [span for span in collector.spans if span.trace_id == UUID(job).bytes]
        assert not any(secret in body for body in collector.sent for secret in (key.encode(), b"a-value-of"))
    names = {span.name for span in of_job}
    assert {"job", "receive", "stage", "load", "agree", "reduce", "commit"} <= names
    assert any(name.endswith("/chunks/upserted") for name in names)
    [root] = [span for span in of_job if not span.parent_span_id]
    assert root.name == "job"


def test_a_collector_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    with collecting() as collector:
        gone = collector.url
    with RunningServer(tmp_path / "data", env={"HEADRACE_OTLP_ENDPOINT": gone}) as server:
        with server.client() as api:
            assert run_job(api, create_pool(api), "t", [ROWS], fileType="CSV")["status"] == "DONE"
        assert server.stop() == 0
