"""From the context of a page to its HTML, and from an error to a page that says so."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headrace import __version__
from headrace.console.sessions import DOOR, ROOT, keep
from headrace.console.showing import FILTERS
from headrace.errors import HeadraceError, InvalidRequest, Unauthorized
from headrace.model import Permission, Pool
from headrace.permissions import decide, effective
from headrace.sessions import Session
from headrace.web.context import the_services
from headrace.web.noting import failed
from headrace.web.rules import Endpoint

ASSETS = Path(__file__).parent / "assets"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with none at all, browsers tell no origin of our own forms either
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Page(Endpoint):
    """A page and its rule. ``live`` is the part that is asked for again while it is looked at."""

    template: str = ""
    live: str = ""


def _fingerprint(name: str) -> str:
    """What changes with the file: browsers may keep it for as long as they like."""
    return f"{ROOT}/assets/{name}?{hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()[:12]}"


def _environment() -> Environment:
    templates = Environment(
        loader=PackageLoader("headrace.console"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FILTERS)
    assets = {path.name: _fingerprint(path.name) for path in ASSETS.iterdir()}
    templates.globals.update(assets=assets, root=ROOT, version=__version__)
    return templates


_TEMPLATES = _environment()
_IN_MENU = 40


@dataclass(frozen=True)
class Frame:
    """What every page shows around its own: who is asking, and the pools to go to."""

    session: Session | None = None
    pools: Sequence[Pool] = ()
    pool: Pool | None = None
    section: str = ""

    def may(self, permission: Permission) -> bool:
        return self.session is not None and permission in effective(self.session.key)

    @property
    def near(self) -> Sequence[Pool]:
        """The pools of the menu: not all of hundreds, but always the one that is looked at."""
        first = self.pools[:_IN_MENU]
        here = [self.pool] if self.pool and self.pool not in first else []
        return [*first, *here]

    @property
    def rules(self) -> bool:
        """Whether the pages of the whole server are open to who is asking."""
        return self.session is not None and decide(self.session.key, Permission.ADMIN).allowed

    @property
    def csrf(self) -> Markup:
        """The field that every form carries."""
        proof = self.session.csrf if self.session else ""
        return Markup('<input type="hidden" name="csrf" value="{}">').format(proof)


def rendered(page: Page) -> Callable[..., Any]:
    """The handler, its answer made HTML unless it is a response already."""
    handler = page.handler
    signature = inspect.signature(handler, eval_str=True)
    frame = inspect.Parameter(
        "framed", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[_Framed, Depends(_framing(page))]
    )

    def answered(*, framed: _Framed, **arguments: Any) -> Response:
        answer = handler(**arguments)
        return answer if isinstance(answer, Response) else framed.html(answer)

    async def answered_later(*, framed: _Framed, **arguments: Any) -> Response:
        answer = await handler(**arguments)
        return answer if isinstance(answer, Response) else await run_in_threadpool(framed.html, answer)

    made: Any = answered_later if inspect.iscoroutinefunction(handler) else answered
    made.__signature__ = signature.replace(parameters=[*signature.parameters.values(), frame])
    return made  # type: ignore[no-any-return]


def part(template: str, **context: object) -> str:
    """A piece of HTML for a script of ours to put into its page."""
    return _TEMPLATES.get_template(template).render(context)


@dataclass(frozen=True)
class _Framed:
    request: Request
    page: Page
    frame: Frame

    def html(self, context: object) -> Response:
        if self.page.live and self.request.headers.get("hx-request"):
            return self._part(context)
        whole = {"page": context, "frame": self.frame, "live": self._live(context)[0]}
        html = _TEMPLATES.get_template(self.page.template).render(whole)
        answer = HTMLResponse(html, status_code=getattr(context, "status", 200), headers=HEADERS)
        if door := getattr(self.request.state, "door", None):
            keep(self.request, answer, DOOR, door)
        return answer

    def _part(self, context: object) -> Response:
        """The live part alone; nothing if it is as it was, so that what is selected stays selected."""
        html, seen = self._live(context)
        if self.request.query_params.get("seen") == seen:
            return Response(status_code=204, headers=HEADERS)
        return HTMLResponse(html, headers=HEADERS)

    def _live(self, context: object) -> tuple[Markup, str]:
        """The part and what it is known by; its templates have escaped what is in it."""
        if not self.page.live:
            return Markup(), ""
        template = _TEMPLATES.get_template(self.page.live)
        inner = Markup(template.render(page=context, frame=self.frame))  # nosec B704
        seen = hashlib.sha256(inner.encode()).hexdigest()[:16]
        query = [(n, v) for n, v in self.request.query_params.multi_items() if n != "seen"]
        path = self.request.scope["raw_path"].decode("latin-1").partition("?")[0]
        url = f"{path}?{urlencode([*query, ('seen', seen)])}"
        told = {"inner": inner, "url": url, "goes_on": getattr(context, "goes_on", True)}
        part = _TEMPLATES.get_template("live.html").render(told, pool=self.frame.pool)
        return Markup(part), seen  # nosec B704


def _framing(page: Page) -> Callable[[Request], _Framed]:
    def framed(request: Request) -> _Framed:
        return _Framed(request, page, frame_of(request, page.tag))

    return framed


def frame_of(request: Request, section: str) -> Frame:
    session: Session | None = getattr(request.state, "session", None)
    if session is None:
        return Frame(section=section)
    pools = the_services(request).pools.list(session.key)
    here = request.path_params.get("pool_id")
    return Frame(session, pools, next((pool for pool in pools if pool.id == here), None), section)


# -- errors --------------------------------------------------------------------------------------------


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except HeadraceError as error:
                return error_page(request, error)
            except RequestValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"][1:]) or "The request"
                return error_page(request, InvalidRequest(f"{where}: {first['msg']}"))

        return handled


def error_page(request: Request, error: HeadraceError) -> Response:
    reference = failed(request, error)
    path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    if isinstance(error, Unauthorized) and not path.endswith("/sign-in"):
        return _to_the_door(request, path)
    session: Session | None = getattr(request.state, "session", None)
    frame = Frame(session, the_services(request).pools.list(session.key) if session else ())
    context = {"error": error, "reference": reference, "frame": frame, "live": ""}
    html = _TEMPLATES.get_template("error.html").render(context)
    return HTMLResponse(html, status_code=error.status, headers=HEADERS)


def _to_the_door(request: Request, path: str) -> Response:
    back = path if request.method == "GET" else ROOT
    door = f"{ROOT}/sign-in?{urlencode({'next': back})}"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": door})
    return RedirectResponse(door, status_code=303, headers=HEADERS)


def see(path: str) -> RedirectResponse:
    """After a form: the page that shows what became of it."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)
