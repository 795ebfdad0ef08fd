"""What is known of the watches, and what follows from it for probes, passes and the process; on a clock of its own."""

from __future__ import annotations

from buildcache.controller.watches import BLIND_AFTER, GIVE_UP_AFTER, UNREADY_AFTER, Watches, watch_paths


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def of(*namespaces: str) -> tuple[Watches, Clock]:
    clock = Clock()
    return Watches(watch_paths(namespaces), clock), clock


def open_all(watches: Watches, *namespaces: str) -> None:
    for path in sorted(watch_paths(namespaces)):
        watches.opened(path)


def refuse(watches: Watches, namespace: str) -> None:
    for path in sorted(watch_paths([namespace])):
        watches.failed(path, "the API server answered 403: no", refused=True)


def test_not_ready_before_the_first_watch() -> None:
    watches, _ = of()
    ready, text = watches.readiness()
    assert not ready
    assert "builds of all namespaces not watched" in text


def test_ready_while_open_and_for_some_time_after() -> None:
    watches, clock = of()
    open_all(watches)
    clock.now += 1e6
    assert watches.readiness() == (True, "")
    watches.close_all()
    clock.now += UNREADY_AFTER - 1
    assert watches.readiness() == (True, "")
    clock.now += 2
    assert not watches.readiness()[0]


def test_p8_a_refused_namespace_is_named_and_does_not_make_the_others_unready() -> None:
    watches, clock = of("team-a", "team-b")
    open_all(watches, "team-a")
    refuse(watches, "team-b")
    ready, text = watches.readiness()
    assert ready
    assert "builds of namespace team-b not watched" in text
    assert "403" in text
    assert "team-a" not in text
    assert watches.sees("team-a")
    assert not watches.sees("team-b")
    for _ in range(60):
        clock.now += 15
        refuse(watches, "team-b")
        assert watches.readiness()[0]
        assert not watches.is_stuck()


def test_p8_not_ready_when_every_namespace_is_refused() -> None:
    watches, _ = of("team-a", "team-b")
    refuse(watches, "team-a")
    refuse(watches, "team-b")
    assert not watches.readiness()[0]


def test_p8_a_watch_that_is_closed_for_no_reason_makes_it_unready() -> None:
    watches, clock = of("team-a", "team-b")
    open_all(watches, "team-a", "team-b")
    watches.closed(sorted(watch_paths(["team-b"]))[0])
    clock.now += UNREADY_AFTER + 1
    ready, text = watches.readiness()
    assert not ready
    assert "team-b" in text


def test_p6_passes_stop_in_a_namespace_that_is_not_seen() -> None:
    watches, clock = of("team-a", "team-b")
    open_all(watches, "team-a", "team-b")
    watches.closed(sorted(watch_paths(["team-b"]))[0])
    clock.now += BLIND_AFTER - 1
    assert watches.sees("team-a")
    assert watches.sees("team-b")
    clock.now += 2
    assert watches.sees("team-a")
    assert not watches.sees("team-b")
    open_all(watches, "team-b")
    assert watches.sees("team-b")


def test_p6_one_watch_of_all_namespaces_is_the_sight_of_each() -> None:
    watches, clock = of()
    assert not watches.sees("team-a")
    open_all(watches)
    assert watches.sees("team-a")
    watches.close_all()
    clock.now += BLIND_AFTER + 1
    assert not watches.sees("team-a")


def test_p6_stuck_only_without_a_refusal() -> None:
    watches, clock = of()
    open_all(watches)
    watches.close_all()
    clock.now += GIVE_UP_AFTER - 1
    assert not watches.is_stuck()
    clock.now += 2
    assert watches.is_stuck()
    refuse(watches, "")
    assert not watches.is_stuck()
    clock.now += 200
    assert watches.is_stuck(), "nobody has tried for minutes"
    open_all(watches)
    assert not watches.is_stuck()
