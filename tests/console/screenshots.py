"""Pictures of every page, light and dark, for the documents: ``make screenshots``. No test runs this.

What they show is real but for two things: the times of some jobs are moved into the day before, for the
chart, and the name of the data folder is not that of this machine.
"""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from console.browser import NARROW, Person, person
from console.stage import Stage, orders
from harness import run_job

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 80_000
NARROW_TOO = ("jobs", "job", "errors", "sql", "settings")


@pytest.fixture(scope="module", autouse=True)
def a_day(stage: Stage) -> None:
    """Jobs all over the day."""
    csv = {"fileType": "CSV", "type": "DELTA", "keys": ["id"]}
    for n in range(36):
        table = ("orders", "order_items", "customers")[n % 3]
        run_job(stage.api, stage.pool, table, [orders(900 + n * 50, 40 + n * 311 % 400)], **csv)
    moments = ("created_at", "queued_at", "started_at", "finished_at")
    shift = "'-' || (rowid * 7919 % 1380) || ' minutes'"
    moved = ", ".join(f"{m} = strftime('%Y-%m-%d %H:%M:%f', {m}, {shift}) || '000'" for m in moments)
    with sqlite3.connect(stage.server.data_dir / "metadata.sqlite") as db:
        db.execute(f"UPDATE jobs SET {moved} WHERE rowid % 11 != 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_take(browser: Browser, stage: Stage, signed_in: dict[str, object], scheme: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with person(browser, stage.server.url, storage_state=signed_in, color_scheme=scheme) as admin:
        for name, path in stage.pages().items():
            admin.page.set_viewport_size({"width": 1280, "height": 800})
            admin.open(path)
            admin.page.wait_for_load_state("networkidle")
            if name == "sql":
                query(admin)
            if name == "settings":
                # the folder is one of this machine
                admin.page.locator("tr", has_text="data_dir").locator("td").first.evaluate(
                    "cell => { cell.textContent = '/var/lib/headrace' }"
                )
            keep(admin, f"console-{name}-{scheme}")
            if name in NARROW_TOO:
                admin.page.set_viewport_size(NARROW)
                keep(admin, f"console-{name}-narrow-{scheme}")
        look(admin, stage)
        keep(admin, f"console-import-tried-{scheme}")
    with person(browser, stage.server.url, color_scheme=scheme) as guest:
        guest.open("/console/sign-in")
        keep(guest, f"console-sign-in-{scheme}")


def query(admin: Person) -> None:
    text = (
        "SELECT customer, count(*) AS orders, sum(amount) AS amount, max(day) AS latest\n"
        "FROM orders\nGROUP BY customer\nORDER BY amount DESC"
    )
    admin.page.get_by_label("One SELECT").fill(text)
    admin.page.keyboard.press("Escape")
    admin.page.get_by_role("button", name="Run").click()
    expect(admin.page.locator("#said")).to_contain_text("rows in")


def look(admin: Person, stage: Stage) -> None:
    german = "Nr;Kunde;Betrag;Tag\n" + "".join(
        f"{n};Müller & Söhne {n % 7};{n}.204,50;{1 + n % 28:02}.01.2024\n" for n in range(1, 400)
    )
    admin.page.set_viewport_size({"width": 1280, "height": 1100})
    admin.open(stage.at("/import"))
    sent = {"name": "Umsätze 2024.csv", "mimeType": "text/csv", "buffer": german.encode("windows-1252")}
    admin.page.get_by_label("File").set_input_files([sent])  # type: ignore[list-item]
    admin.page.get_by_role("button", name="Try it").click()
    expect(admin.page.get_by_role("button", name="Load")).to_be_visible()


def keep(person: Person, name: str) -> None:
    """In few colours: pages have no more, and a picture shall be small."""
    taken = Image.open(io.BytesIO(person.page.screenshot()))
    path = IMAGES / f"{name}.png"
    taken.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < LARGEST, (name, path.stat().st_size)
