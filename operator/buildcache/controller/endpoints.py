"""/healthz, /readyz and /metrics, answered by a thread of their own. Read-only.

kopf's own liveness endpoint ends with kopf, which `__main__` restarts in process; and it knows no readiness.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, str, bytes]

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class _Server(ThreadingHTTPServer):
    """Listens on all addresses of the machine, IPv4 and IPv6: kubelet asks the Pod's address, which may be either."""

    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's, which looks its own name up in DNS.
        socketserver.TCPServer.server_bind(self)


class _DualStackServer(_Server):
    address_family = socket.AF_INET6


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    with contextlib.suppress(OSError):
        return _DualStackServer(("::", port), handler)
    # No IPv6 on this machine, or the port is in use, which IPv4 reports again.
    return _Server(("0.0.0.0", port), handler)  # noqa: S104 - kubelet and Prometheus come from outside of the Pod


class Endpoints:
    """One listening port with a function for each path."""

    def __init__(self, port: int, paths: dict[str, Callable[[], Answer]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                answer = paths.get(self.path.partition("?")[0])
                status, content_type, content = answer() if answer else (404, TEXT, b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: probes come every few seconds."""

        self._server = _listen(port, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoints", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on; another than asked for only when that was 0."""
        port: int = self._server.server_address[1]
        return port

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
