"""Thousands of tasks: they cost no threads, and calls stay quick. Times are of the CPU, so that a busy machine changes nothing."""

import threading
import time
from collections.abc import Callable

from tests.lab.aws.served import Served, until
from tests.lab.ecs.tasks import CLUSTER, parameters, plan, register


def best_of(count: int, action: Callable[[], object]) -> float:
    times = []
    for _ in range(count):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def test_t61_a_thousand_tasks(aws: Served) -> None:
    plan(aws, start=0.05, build=60)
    threads = threading.active_count()
    ecs = aws.client("ecs")
    definition = register(aws)
    arns: list[str] = []
    for _ in range(100):
        answer = ecs.run_task(**parameters(aws, definition, count=10))
        arns += [task["taskArn"] for task in answer["tasks"]]

    def running() -> int:
        # The build runs; the task is PENDING until its last container starts.
        return sum(1 for task in aws.aws.tasks() if task["containers"][0]["exitCode"] == 0)

    until(running, lambda count: count == 1000, seconds=60)
    assert threading.active_count() < threads + 20
    assert best_of(5, lambda: ecs.run_task(**parameters(aws, definition))) < 0.02
    assert best_of(5, lambda: ecs.describe_tasks(cluster=CLUSTER, tasks=arns[:100])) < 0.1
    plan(aws)
