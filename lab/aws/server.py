"""A threaded WSGI server on loopback, quiet about requests and able to drop a connection without an answer."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger(__name__)


class Handler(MotoRequestHandler):  # type: ignore[misc]  # moto carries no types
    """moto's handling of header names, without a log line for each request and without Nagle's delay."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the call log has it."""


class Server:
    """Serves one WSGI application from a thread of its own."""

    def __init__(self, application: WSGIApplication, port: int = 0) -> None:
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, application, threaded=True, request_handler=Handler
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="aws", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def drop(environ: Mapping[str, Any]) -> NoReturn:
    """Reset the connection of a request: the client reads neither an answer nor an orderly end."""
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is not None:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
        except OSError as problem:
            # The client may have left already, which is what was wanted.
            logger.debug("connection was gone before it could be dropped", extra={"problem": str(problem)})
    raise ConnectionAbortedError("dropped on request of a lab rule")
