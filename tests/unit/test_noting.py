"""From where a request is: the neighbour's address, or what a proxy that is trusted says."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from headrace.web.noting import peer_of

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("neighbour", "forwarded", "peer"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["127.0.0.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2, 10.0.0.3"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, <script>"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("a socket", ["198.51.100.7"], "a socket"),
        (None, ["198.51.100.7"], ""),
    ],
)
def test_where_a_request_is_from(neighbour: str | None, forwarded: list[str], peer: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    scope = {"type": "http", "client": (neighbour, 1) if neighbour else None, "headers": headers}
    assert peer_of(scope, PROXIES) == peer


def test_nobody_is_trusted_unless_said() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.7")]
    assert peer_of({"client": ("127.0.0.1", 1), "headers": headers}, ()) == "127.0.0.1"
