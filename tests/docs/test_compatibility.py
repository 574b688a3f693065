"""The matrix of compatibility; what stands in it is compared with what is seen while tests/contract runs."""

from __future__ import annotations

from contract import matrix


def test_every_file_is_a_clients_or_nobodys() -> None:
    files = {path.stem for path in matrix.HERE.glob("test_*.py")}
    assert files == matrix.CLIENTS.keys() | matrix.NO_CLIENTS
    assert not matrix.CLIENTS.keys() & matrix.NO_CLIENTS


def test_the_page_is_what_is_generated() -> None:
    assert matrix.render(matrix.written()) == matrix.PAGE.read_text()


def test_every_test_of_the_page_exists() -> None:
    for stem, client in matrix.CLIENTS.items():
        tests = {test for name, _, test in matrix.written() if name == client}
        assert tests
        assert tests <= matrix.tests_of(stem)


def test_paths_are_operations() -> None:
    jobs = "/data-ingestion//api/v1/data-push/p/jobs"
    assert matrix.operation("POST", f"{jobs}/?x=1") == "POST …/jobs"
    assert matrix.operation("POST", f"{jobs}//j/chunks/upserted/") == "POST …/jobs/{job_id}/chunks/upserted"
    assert matrix.operation("GET", "/nothing") is None
