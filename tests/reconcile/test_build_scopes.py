"""Build passes of Kaniko builds that share a scope: waiting, going without, and crashes between RunTask and its note."""

from dataclasses import replace
from typing import Any

import pytest

from tests.core.test_scope import body, cache_of, definition, noted
from tests.fakes.builds import REPOSITORY
from tests.fakes.executor import FakeExecutor
from tests.fakes.world import World, others

MOUNTING, PLAIN = definition("kaniko", "amd64/web"), definition("kaniko", None)


def kaniko(*ready: str, **options: Any) -> World:
    """One Build of service web, with what `cache_of` has."""
    build = options.pop("build", {})
    return World(cache_of(*ready, **options).to_json() | identity(), **build)


def identity() -> dict[str, Any]:
    return {"metadata": {"name": "shop", "namespace": "team-a", "uid": "cache-uid", "generation": 1}}


def see(world: World, *rivals: dict[str, Any]) -> None:
    """The line: these, and then our Build as it is."""
    world.view.builds = [*rivals, world.shell.body]


def started_from(world: World) -> str:
    return str(world.ecs.requests[-1]["taskDefinition"])


def message(world: World, kind: str) -> str:
    found = [each["message"] for each in world.shell.status["conditions"] if each["type"] == kind]
    return str(found[0]) if found else ""


def test_alone_it_mounts_and_says_what_it_was_started_from() -> None:
    world = kaniko()
    see(world)
    world.shell.settle()
    assert started_from(world) == MOUNTING
    assert world.shell.status["executor"]["taskDefinitionARN"] == MOUNTING
    assert world.shell.condition("CacheUsed") == ("", "")


def test_it_waits_for_the_writer_names_it_and_then_mounts() -> None:
    world = kaniko()
    writer = noted(body(-5), MOUNTING)
    see(world, writer)
    outcome = world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Queued")
    assert "waits for Build b--5" in message(world, "Succeeded")
    assert world.shell.status["queue"] == {"position": 0}
    assert world.ecs.requests == []
    assert outcome.again_after is not None
    writes = len(world.shell.writes)
    world.shell.later(seconds=30)
    assert len(world.shell.writes) == writes
    see(world)
    world.shell.settle()
    assert started_from(world) == MOUNTING


def test_before_its_queue_timeout_ends_it_runs_without_and_says_why() -> None:
    world = kaniko()
    see(world, noted(body(-5), MOUNTING))
    world.shell.settle()
    world.shell.later(minutes=53)
    assert world.ecs.requests == []
    see(world, noted(body(-5), MOUNTING))
    world.shell.later(minutes=2)
    see(world, noted(body(-5), MOUNTING))
    world.shell.settle()
    assert started_from(world) == PLAIN
    assert world.shell.condition("CacheUsed") == ("Unknown", "NotReady")
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")
    assert world.shell.condition("CacheUsed") == ("True", "Cold")
    assert "without its cache mounts: Build b--5" in message(world, "CacheUsed")
    assert world.shell.status["cache"]["ref"] == REPOSITORY


def test_an_access_point_that_is_being_made_is_waited_for_in_its_turn() -> None:
    world = kaniko(rows={})
    see(world)
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "WaitingForCache")
    assert "amd64/web" in message(world, "Succeeded")
    world.view.body = {**cache_of().to_json(), **identity()}
    world.shell.later(seconds=5)
    assert started_from(world) == MOUNTING


def test_an_access_point_that_never_comes_does_not_end_the_build() -> None:
    world = kaniko(rows={})
    see(world)
    world.shell.settle()
    world.shell.later(minutes=55)
    world.shell.settle()
    assert started_from(world) == PLAIN


def test_in_a_full_line_it_says_its_place_and_not_what_it_would_mount() -> None:
    world = kaniko(rows={}, limits={"maxConcurrentBuilds": 1})
    world.view.builds = [*others(1, held=True), world.shell.body]
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Queued")


@pytest.mark.parametrize(("then", "first", "second"), [(True, PLAIN, MOUNTING), (False, MOUNTING, PLAIN)], ids=str)
def test_a_crash_between_the_task_and_its_note_keeps_to_what_really_runs(then: bool, first: str, second: str) -> None:
    world = kaniko()
    rival = noted(body(-5), definition("kaniko", "amd64/web"))
    see(world)
    world.shell.body["metadata"]["finalizers"] = ["buildcache.dev/finalizer"]
    see(world, *([rival] if then else []))
    world.shell.pass_once()
    assert world.ecs.requests == [], "the cluster is noted first"
    see(world, *([rival] if then else []))
    world.shell.lose_status = True
    world.shell.pass_once()
    assert started_from(world) == first
    world.restart()
    see(world, *([] if then else [rival]))
    world.shell.settle()
    assert started_from(world) == second  # asked for otherwise, and given the first one's task all the same
    assert len(world.ecs.tasks) == 1
    assert world.shell.status["executor"]["taskDefinitionARN"] == first


def test_a_task_of_which_only_the_name_is_known_counts_as_a_writer_until_it_is_described() -> None:
    world = kaniko()
    see(world)
    plain = FakeExecutor._run

    def conflict(self: FakeExecutor, request: Any, now: Any) -> Any:
        return replace(plain(self, request, now), task_definition_arn="")

    world.ecs._run = conflict.__get__(world.ecs)  # type: ignore[method-assign]
    world.shell.pass_once()
    assert world.shell.status["executor"].get("taskDefinitionARN") is None
    world.ecs.run(world.ecs.only().arn)
    world.shell.settle()
    assert world.shell.status["executor"]["taskDefinitionARN"] == MOUNTING


def test_a_mount_that_fails_is_tried_again() -> None:
    world = kaniko()
    see(world)
    arn = world.launched()
    world.ecs.end(
        arn,
        world.shell.now,
        codes={},
        stop_code="TaskFailedToStart",
        reason="ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: access denied by server",
    )
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Retrying")
    assert "CacheMountFailed" in message(world, "Succeeded")
    see(world)
    world.shell.later(minutes=2)
    assert len(world.ecs.tasks) == 2


def test_an_executor_of_another_architecture_has_a_scope_of_its_own() -> None:
    world = kaniko(build={"executor": "arm"})
    see(world, noted(body(-5), MOUNTING))
    world.shell.settle()
    assert started_from(world) == definition("arm", "arm64/web")
