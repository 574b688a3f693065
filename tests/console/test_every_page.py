"""What holds for each page: for every person, every window, and against every stranger."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from inspect import signature
from typing import get_type_hints

import pytest
from playwright.sync_api import Browser, expect

from console.browser import (
    HEAVIEST,
    NARROW,
    Person,
    cut_lists,
    faults_for_some_people,
    overflow,
    person,
    weight,
)
from console.door import answered, door, inside, proof_of
from console.stage import LONG, Stage
from harness import create_pool
from headrace.console.pages import PAGES
from headrace.console.rendering import POLICY, Page
from headrace.model import Permission
from headrace.web.rules import OPEN

SECRETS = ("Order to cash", "invoices", "Edsger", LONG)
COLOURS = ("color-contrast",)
BELOW_EACH_OTHER = ("errors", "settings")
"""Pages whose lists need no scrolling on a narrow screen."""
WITH_TEMPLATE = [page for page in PAGES if page.template]


def test_the_tools_find_what_they_are_for(guest: Person) -> None:
    guest.open("/console/sign-in")
    assert faults_for_some_people(guest.page) == []
    guest.page.evaluate("document.querySelector('label').replaceWith(document.querySelector('label input'))")
    guest.page.evaluate("document.documentElement.removeAttribute('lang')")
    found = " ".join(faults_for_some_people(guest.page))
    assert "html-has-lang" in found
    assert "label" in found


def test_each_page_is_fit_for_everybody(admin: Person, stage: Stage) -> None:
    """axe, light and dark; 400 px; weight; title and one heading; no other host (asserted by the fixture)."""
    create_pool(stage.api, LONG)
    faults = []
    for name, path in stage.pages().items():
        admin.page.set_viewport_size({"width": 1280, "height": 800})
        admin.page.emulate_media(color_scheme="light")
        admin.open(path)
        admin.page.wait_for_load_state("networkidle")
        assert weight(admin.page) < HEAVIEST, name
        assert admin.page.title().endswith("· Headrace"), name
        assert admin.page.locator("h1").count() == 1, name
        faults += [f"{name}: {fault}" for fault in faults_for_some_people(admin.page)]
        faults += [f"{name}: wider than its window"] * (overflow(admin.page) > 0)
        faults += [f"{name}: {title} is cut" for title in cut_lists(admin.page)]
        admin.page.emulate_media(color_scheme="dark")
        admin.page.set_viewport_size(NARROW)
        faults += [f"{name}, dark: {fault}" for fault in faults_for_some_people(admin.page, only=COLOURS)]
        faults += [f"{name}, narrow: wider than its window"] * (overflow(admin.page) > 0)
        if name in BELOW_EACH_OTHER:
            faults += [f"{name}, narrow: {title} is cut" for title in cut_lists(admin.page)]
    assert faults == []


def test_each_page_has_a_strict_policy(stage: Stage) -> None:
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'")
    with inside(stage.server, stage.server.admin_key) as client:
        for path in (*stage.pages().values(), "/console/sign-in"):
            reply = client.get(path)
            assert reply.headers["content-security-policy"] == POLICY, path
            assert reply.headers["cache-control"] == "no-store", path
            assert reply.headers["x-frame-options"] == "DENY"
            assert not re.search(
                r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style|javascript:", reply.text
            ), path
            assert not re.search(r"""(src|href|action)=["'](https?:)?//""", reply.text), path


def test_a_script_that_gets_into_a_page_does_not_run(admin: Person, stage: Stage) -> None:
    admin.open("/console")
    program = "Object.assign(document.createElement('script'), {textContent: 'window.bad = 1'})"
    admin.page.evaluate(f"document.body.append({program})")
    assert admin.page.evaluate("window.bad") is None
    [complaint] = admin.complaints
    assert "Content Security Policy" in complaint
    admin.complaints.clear()


def test_files_of_the_pages_may_be_kept_and_others_are_none(stage: Stage) -> None:
    with door(stage.server) as client:
        page = client.get("/console/sign-in").text
        files = re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', page)
        assert len(files) >= 4
        for file in files:
            reply = client.get(file)
            assert (reply.status_code, "immutable" in reply.headers["cache-control"]) == (200, True)
        for name in ("..%2Fpages.py", "none.js", "%2e%2e"):
            assert client.get(f"/console/assets/{name}").status_code == 404


def test_a_stranger_sees_nothing_of_another_pool(stage: Stage) -> None:
    """On no page, by no address, with whatever a page takes."""
    with inside(stage.server, stage.stranger) as client:
        proof = proof_of(client, "/console")
        seen = 0
        for page in PAGES:
            for pool, path in (
                (stage.pool, _filled(page, stage)),
                (stage.secret, _filled(page, stage, stage.secret)),
            ):
                form = {"csrf": proof} if page.method == "POST" else None
                status, text = answered(client, page.method, path, form)
                seen += status == 200
                if pool == stage.pool and "{pool_id" in page.path:
                    assert status == 403, (page.method, path)
                assert not any(secret in text for secret in SECRETS), (page.method, path)
            if page.path.endswith("/sign-out"):
                break_off = client.get("/console").status_code
                assert break_off == 303
                client.cookies.clear()
                _sign_in_again(client, stage)
                proof = proof_of(client, "/console")
        assert seen > 5


def _sign_in_again(client: object, stage: Stage) -> None:
    from console.door import sign_in  # noqa: PLC0415

    assert sign_in(client, stage.stranger).status_code == 303  # type: ignore[arg-type]


def _filled(page: Page, stage: Stage, pool: str | None = None) -> str:
    values = {"pool_id": pool or stage.pool, "job_id": stage.jobs["rejects"], "name": "orders"}
    values |= {"key_id": "none", "rest": "none"}
    path = page.path
    for name, value in values.items():
        path = re.sub(rf"\{{{name}(:\w+)?\}}", value, path)
    assert "{" not in path, path
    return path


def test_who_is_not_signed_in_comes_to_the_door(stage: Stage) -> None:
    with door(stage.server) as client:
        for page in PAGES:
            path = _filled(page, stage)
            reply = client.request(page.method, path)
            if page.needs == OPEN:
                continue
            assert reply.status_code == 303, (page.method, path)
            assert reply.headers["location"].startswith("/console/sign-in"), path


def test_each_form_is_guarded(stage: Stage) -> None:
    """Every page that takes something refuses it without the proof of its session."""
    with inside(stage.server, stage.server.admin_key) as client:
        for page in PAGES:
            if page.method != "GET":
                reply = client.post(_filled(page, stage), data={"key": stage.server.admin_key})
                assert reply.status_code == 403, page.path


def test_reading_needs_no_script(browser: Browser, stage: Stage, signed_in: dict[str, object]) -> None:
    with person(browser, stage.server.url, storage_state=signed_in, java_script_enabled=False) as reader:
        for name, path in stage.pages().items():
            reader.open(path)
            expect(reader.page.locator("main")).to_be_visible()
            if name in ("jobs", "tables", "table", "errors", "audit", "settings", "keys"):
                assert reader.page.locator("tbody tr").count() > 1, name
        reader.page.set_viewport_size(NARROW)
        reader.open(stage.at("/jobs"))
        expect(reader.page.get_by_role("link", name="SQL")).to_be_visible()


def test_the_keyboard_reaches_the_content_first(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/jobs"))
    admin.page.keyboard.press("Tab")
    expect(admin.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    admin.page.keyboard.press("Enter")
    admin.page.keyboard.press("Tab")
    expect(admin.page.get_by_role("link", name="Import a file")).to_be_focused()


def test_the_menu_folds_in_a_narrow_window(admin: Person, stage: Stage) -> None:
    admin.page.set_viewport_size(NARROW)
    admin.open(stage.at("/jobs"))
    link = admin.page.get_by_role("link", name="SQL")
    expect(link).to_be_hidden()
    admin.page.get_by_text("Order to cash").first.click()
    link.click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("SQL")


@pytest.mark.parametrize("page", WITH_TEMPLATE, ids=lambda page: f"{page.method} {page.path}")
def test_each_page_has_a_frozen_context(page: Page) -> None:
    answer = get_type_hints(page.handler)["return"]
    contexts = [t for t in getattr(answer, "__args__", (answer,)) if is_dataclass(t)]
    assert len(contexts) == 1
    assert contexts[0].__dataclass_params__.frozen
    assert fields(contexts[0])
    assert signature(page.handler).return_annotation


def test_what_changes_needs_more_than_to_read() -> None:
    """Of what takes a form, only queries, a look at a sample and the door are open to who may only read."""
    open_to_readers = {
        p.handler.__name__ for p in PAGES if p.method == "POST" and p.needs in (Permission.READ, OPEN)
    }
    assert open_to_readers == {"sign_in", "run_on_page", "run_query", "look"}
