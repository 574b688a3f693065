"""A request that offers another protocol is answered in this one, with its body."""

from __future__ import annotations

import sys

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OF_AN_OFFER = (b"upgrade", b"http2-settings")


class WithoutOffers(HttpToolsProtocol):
    """A server may pass over an offer (RFC 9110, 7.8). The parser cannot: it ends the request at its head.

    So the head is parsed once more without the offer, and the rest behind it. Java's HttpClient offers HTTP/2
    on every connection without TLS.
    """

    def data_received(self, data: bytes) -> None:
        self._data = data
        super().data_received(data)

    def on_headers_complete(self) -> None:
        if not self._offered():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._offered():
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """What uvicorn calls, while it handles what the parser raised."""
        raised = sys.exc_info()[1]
        if not isinstance(raised, HttpParserUpgrade) or not self._offered():
            return
        head, rest = self._head_without_offer(), self._data[raised.args[0] :]
        self.parser = HttpRequestParser(self)
        super().data_received(head + rest)

    def _offered(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            kept = _without_offer(value) if name == b"connection" else value
            lines += [name + b": " + kept] if name not in _OF_AN_OFFER else []
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _without_offer(connection: bytes) -> bytes:
    tokens = [token.strip() for token in connection.split(b",")]
    return b", ".join(token for token in tokens if token.lower() not in _OF_AN_OFFER)
