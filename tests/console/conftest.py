"""One server and one browser for all pages; a person at it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from console.browser import Person, launch, person
from console.stage import Stage
from harness import RunningServer


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with RunningServer(tmp_path_factory.mktemp("console") / "data") as server, server.client() as api:
        yield Stage(server, api).open()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a file alone: as long as it lives, its event loop is in the way of every test that runs one."""
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture
def guest(browser: Browser, stage: Stage) -> Iterator[Person]:
    """Who has not signed in."""
    with person(browser, stage.server.url) as somebody:
        yield somebody
        somebody.assert_at_peace()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, stage: Stage) -> dict[str, object]:
    """The cookies of an administrator, so that not every test signs in."""
    with person(browser, stage.server.url) as somebody:
        somebody.sign_in(stage.server.admin_key)
        return dict(somebody.context.storage_state())


@pytest.fixture(scope="module")
def at_the_desk(browser: Browser, stage: Stage, signed_in: dict[str, object]) -> Iterator[Person]:
    with person(browser, stage.server.url, storage_state=signed_in, reduced_motion="reduce") as somebody:
        yield somebody


@pytest.fixture
def admin(at_the_desk: Person) -> Iterator[Person]:
    """The same administrator at the same window for all tests: each finds it as if it were new."""
    at_the_desk.begin_anew()
    yield at_the_desk
    at_the_desk.assert_at_peace()
