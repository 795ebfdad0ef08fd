"""What kopf's HTTP session does beside sending requests: it reports how lists and watches fare, and keeps refusals from kopf.

kopf ends all of its watches when one list or watch is refused for some seconds. Here such a request is tried again until it
succeeds, so one namespace that answers 403 takes no other down. What kopf knows how to deal with reaches it: expired resource
versions, rejected credentials, a kind that does not exist, and broken connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from .watches import Watches

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0

_FOR_KOPF = (401, 404, 410)


class Patience:
    """A middleware of aiohttp; one for all sessions of a process."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._pauses: dict[str, float] = {}

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, again and again when it is a list or watch of our kinds that is refused."""
        path = request.url.path
        is_watch = request.url.query.get("watch") == "true"
        is_ours = self._watches.knows(path)
        while True:
            if is_watch:
                self._watches.closed(path)
            try:
                response = await send(request)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._lost(path, request, error)
                raise
            self._date(response)
            if response.status == 200 and not response.content_type.startswith("text/"):
                self._pauses.pop(path, None)
                if is_watch:
                    self._watches.opened(path)
                return response
            if response.status == 401:
                self._watches.all_failed("the API server rejects the operator's credentials (401)")
            elif not is_ours and response.status != 404:
                self._watches.all_failed(await _explanation(response))
            if not is_ours or response.status in _FOR_KOPF:
                return response
            self._watches.failed(path, await _explanation(response), refused=True)
            response.close()
            await asyncio.sleep(self._pause(path, response))

    def _date(self, response: aiohttp.ClientResponse) -> None:
        # An answer from a cache on the way would carry an old date; none of ours may be cached.
        with contextlib.suppress(ValueError):
            if date := response.headers.get("Date"):
                self._watches.dated(parsedate_to_datetime(date).astimezone(UTC))

    def _lost(self, path: str, request: aiohttp.ClientRequest, error: Exception) -> None:
        if request.session.closed:
            # By kopf, for a reason that another request has told.
            return
        why = f"no answer from the API server ({type(error).__name__})"
        if self._watches.knows(path):
            self._watches.failed(path, why)
        else:
            self._watches.all_failed(why)

    def _pause(self, path: str, response: aiohttp.ClientResponse) -> float:
        pause = self._pauses.get(path, FIRST_PAUSE)
        self._pauses[path] = min(LONGEST_PAUSE, pause * 2)
        wanted = response.headers.get("Retry-After", "")
        return max(pause, min(float(wanted), 60.0) if wanted.isdecimal() else 0.0)


async def _explanation(response: aiohttp.ClientResponse) -> str:
    if response.status == 200:
        return (
            f"the answer is {response.content_type or 'no JSON'}: something before the API server answers in its place"
        )
    try:
        message = str(json.loads(await response.text())["message"])[:500]
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        message = response.reason or ""
    return f"the API server answered {response.status}: {message}"
