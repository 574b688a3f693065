"""`.ci/audit` with a service that knows of a hole, with one that knows of none, and with none at all."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
HOLE = {
    "id": "PYSEC-1",
    "summary": "a hole",
    "affected": [
        {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


@contextmanager
def advisories(holes: dict[str, list[dict]]) -> Iterator[str]:
    """A service that answers as the open database of vulnerabilities does; its address."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = holes.get(question["package"]["name"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}/"
        service.shutdown()
        thread.join()


def audit(folder: Path, service: str, mode: str) -> subprocess.CompletedProcess[str]:
    pins = folder / "pins.txt"
    pins.write_text("leaky==1.0\ntight==2.0\n")
    return subprocess.run(
        [sys.executable, AUDIT, pins, "-s", "osv", "--osv-url", service],
        env={**os.environ, "AUDIT": mode},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_finding_fails(tmp_path: Path) -> None:
    with advisories({"leaky": [HOLE]}) as service:
        done = audit(tmp_path, service, "asked")
    assert done.returncode == 1
    assert "leaky 1.0: PYSEC-1, mended in 1.1\n2 versions audited, 1 findings\n" in done.stdout


def test_no_finding_passes(tmp_path: Path) -> None:
    with advisories({}) as service:
        done = audit(tmp_path, service, "required")
    assert (done.returncode, done.stdout) == (0, "2 versions audited, 0 findings\n")


def test_a_service_that_cannot_be_asked_is_told(tmp_path: Path) -> None:
    done = audit(tmp_path, "http://127.0.0.1:9/", "asked")
    assert done.returncode == 0
    assert "NOT AUDITED" in done.stdout


def test_a_service_that_must_be_asked_fails(tmp_path: Path) -> None:
    assert audit(tmp_path, "http://127.0.0.1:9/", "required").returncode == 1
