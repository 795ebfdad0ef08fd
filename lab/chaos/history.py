"""What happened to Builds at every moment of a life, held against the rules that no moment may break.

`History` knows the rules and nothing of where its events come from; `follow` feeds it from a watch of the API server, which tells every
change, also one that is undone before the next look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config, watch

from lab.demo.cluster import GROUP, VERSION, Cluster
from lab.outside import condition

WATCH_SECONDS = 2
"""One watch; the next goes on where it ended. So long may `follow` take to end."""

Body = Mapping[str, Any]


class History:
    """The Builds of one life by UID. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, Body] = {}
        self._broken: list[str] = []

    def take(self, build: Body) -> None:
        """The next state of a Build."""
        metadata = build["metadata"]
        with self._lock:
            before = self._last.get(metadata["uid"])
            self._last[metadata["uid"]] = build
            if before is None or not has_ended(before):
                return
            was, now = before["status"], build.get("status", {})
            changed = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
            if changed:
                told = [(name, was.get(name), now.get(name)) for name in changed]
                self._broken.append(f"{metadata['name']} had ended, and its status changed all the same: {told}")

    def broken(self, tasks: Sequence[Mapping[str, Any]], uids: Collection[str]) -> str | None:
        """The first rule that was broken; `tasks` are all that ECS started, `uids` the Builds that there are or were."""
        with self._lock:
            found = [*self._broken, *self._tasks(tasks, uids)]
        return found[0] if found else None

    def _tasks(self, tasks: Sequence[Mapping[str, Any]], uids: Collection[str]) -> Iterator[str]:
        for task in tasks:
            if task["startedBy"] not in uids:
                yield f"the task {task['arn']} was started by {task['startedBy']!r}, which is no Build"
        for uid, build in self._last.items():
            name, rows = build["metadata"]["name"], build.get("status", {}).get("attempts", [])
            own = [task for task in tasks if task["startedBy"] == uid]
            arns = [task["arn"] for task in own]
            attempt = max((row["number"] for row in rows), default=1)
            if len(own) > attempt:
                yield f"{name} is at attempt {attempt} and has {len(own)} tasks: {arns}"
            if len({task["clientToken"] for task in own}) != len(own):
                yield f"two tasks of {name} have one client token: {arns}"
            noted = [row["taskARN"] for row in rows if row.get("taskARN")]
            if len(set(noted)) != len(noted) or not set(noted) <= set(arns):
                yield f"the attempts of {name} are {noted}, its tasks {arns}"


def has_ended(build: Body) -> bool:
    """Whether its result is decided."""
    return condition(build, "Succeeded").get("status") in ("True", "False")


@contextmanager
def follow(cluster: Cluster, plural: str, take: Callable[[Body], None]) -> Iterator[None]:
    """Tell every change of a kind in the cluster's namespace, from another thread."""
    api = client.CustomObjectsApi(config.new_client_from_config(cluster.info["kubeconfig"]))
    of = (GROUP, VERSION, cluster.namespace, plural)
    version = api.list_namespaced_custom_object(*of)["metadata"]["resourceVersion"]
    over = threading.Event()

    def read() -> None:
        events = watch.Watch()
        # The watch remembers how far it was.
        events.resource_version = version
        while not over.is_set():
            for event in events.stream(api.list_namespaced_custom_object, *of, timeout_seconds=WATCH_SECONDS):
                take(event["object"])

    thread = threading.Thread(target=read, name=f"history of {plural}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
