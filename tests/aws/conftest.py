"""A server that answers nothing but an HTML page, as a proxy does when AWS is away: to some with 502, to others with 200."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest


class _Page(BaseHTTPRequestHandler):
    status = 502

    def do_POST(self) -> None:
        body = b"\n<!DOCTYPE html><html><body>Bad gateway</body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve_html(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    page = type("Page", (_Page,), {"status": getattr(request, "param", 502)})
    server = HTTPServer(("127.0.0.1", 0), page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield lambda: f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
