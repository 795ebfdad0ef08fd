"""`buildcache logs`, `wait` and `cancel` against a Build that goes its way, as people and scripts meet them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from buildcache.cli import cluster, follow
from buildcache.cli.app import app
from buildcache.cli.cluster import Trouble

ARN = "arn:aws:ecs:eu-west-1:111122223333:task/builds/{}"


def body(reason: str, status: str = "Unknown", *, attempts: int = 0, message: str = "", **more: Any) -> dict[str, Any]:
    rows = [{"number": number, "taskARN": ARN.format(f"{number:032x}")} for number in range(1, attempts + 1)]
    logs = {"logs": {"group": "/buildcache/team-a/shop", "stream": "s"}} if rows else {}
    conditions = [{"type": "Succeeded", "status": status, "reason": reason, "message": message}]
    return {"status": {"conditions": conditions, "attempts": rows, **logs, **more}}


class Scene:
    """A Build and its log streams over time: each look at the Build is the next step; the last one stays."""

    def __init__(self, *steps: Mapping[str, Any] | None) -> None:
        self.steps = list(steps)
        self.lines: dict[str, list[str]] = {}
        self.at_step: dict[int, Callable[[], None]] = {}
        self.cancelled: list[str] = []
        self.slept = 0.0
        self.seen = 0

    def build(self, name: str) -> Mapping[str, Any] | None:
        self.seen += 1
        self.at_step.get(self.seen, lambda: None)()
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)

    def page(self, region: str, group: str, stream: str, token: str | None) -> tuple[tuple[str, ...], str | None]:
        assert (region, group) == ("eu-west-1", "/buildcache/team-a/shop")
        if stream not in self.lines:
            return (), None
        begin = int(token or 0)
        lines = tuple(self.lines[stream][begin : begin + 3])
        return lines, str(begin + len(lines))

    def last(self, region: str, group: str, stream: str) -> str:
        return (self.lines.get(stream) or [""])[-1]

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def stream(self, container: str, attempt: int = 1) -> str:
        return f"build/{container}/{attempt:032x}"


def run_logs(scene: Scene, *, follow_on: bool = True) -> tuple[int, list[str], list[str]]:
    out: list[str] = []
    notes: list[str] = []
    code = follow.logs(scene, scene, "web-1", follow=follow_on, out=out.append, note=notes.append, sleep=scene.sleep)
    return code, out, notes


def test_logs_follow_a_build_from_the_queue_to_its_end() -> None:
    scene = Scene(
        body("Queued", queue={"position": 2}),
        body("Provisioning", attempts=1),
        body("Running", attempts=1),
        body("Completed", "True", attempts=1, message="built"),
    )
    scene.lines[scene.stream("fetch")] = ["cloning"]
    scene.lines[scene.stream("build")] = [f"#{number}" for number in range(8)]
    # A line that arrives after the task has stopped.
    scene.at_step[6] = lambda: scene.lines[scene.stream("build")].append("late")
    code, out, notes = run_logs(scene)
    assert code == 0
    assert out == ["cloning", *(f"#{number}" for number in range(8)), "late"]
    assert notes[0] == "Queued: 2 before it"
    assert notes[-1] == "Completed: built"


def test_logs_of_a_failed_build_end_with_1_and_of_a_second_attempt_go_on() -> None:
    scene = Scene(
        body("Running", attempts=1), body("Running", attempts=2), body("BuildStepFailed", "False", attempts=2)
    )
    scene.lines[scene.stream("build", 1)] = ["first"]
    scene.lines[scene.stream("build", 2)] = ["second"]
    code, out, notes = run_logs(scene)
    assert (code, out) == (1, ["first", "second"])
    assert "attempt 2" in notes


def test_logs_without_follow_print_what_is_there() -> None:
    scene = Scene(body("Running", attempts=1))
    scene.lines[scene.stream("build")] = ["\x1b[31mred\x1b[0m\x07"]
    assert run_logs(scene, follow_on=False) == (0, ["red"], [])
    assert scene.slept == 0


def test_logs_of_a_build_without_a_task_say_why() -> None:
    code, out, notes = run_logs(Scene(body("Queued", queue={"position": 0})), follow_on=False)
    assert (code, out, notes) == (0, [], ["no log yet: Queued, it is next"])
    assert run_logs(Scene(body("QueueFull", "False")))[0] == 1


def run_wait(scene: Scene, timeout: float | None = None) -> tuple[int, list[tuple[str, str]]]:
    shown: list[tuple[str, str]] = []
    code, _ = follow.wait(
        scene,
        scene,
        "web-1",
        timeout=timeout,
        show=lambda what, _, last: shown.append((what, last)),
        clock=lambda: scene.slept,
        sleep=scene.sleep,
    )
    return code, shown


def test_wait_shows_queue_provisioning_and_build_with_its_last_line() -> None:
    scene = Scene(
        body("Queued", queue={"position": 1}),
        body("Provisioning", attempts=1, message="ECS places the task"),
        body("Running", attempts=1, message="the task runs"),
        body("Completed", "True", attempts=1),
    )
    scene.lines[scene.stream("build")] = ["#7 RUN make"]
    assert run_wait(scene) == (
        0,
        [
            ("Queued: 1 before it", ""),
            ("Provisioning: ECS places the task", ""),
            ("Running: the task runs", "#7 RUN make"),
        ],
    )


@pytest.mark.parametrize("reason", ["BuildStepFailed", "Cancelled"])
def test_wait_ends_with_1_when_there_is_no_image(reason: str) -> None:
    assert run_wait(Scene(body(reason, "False")))[0] == 1


def test_wait_gives_up_after_its_time() -> None:
    code, shown = run_wait(Scene(body("Running")), timeout=10)
    assert code == 3
    assert len(shown) == 10


def test_wait_for_a_build_that_is_deleted_meanwhile() -> None:
    with pytest.raises(Trouble, match="no Build web-1"):
        run_wait(Scene(body("Running"), None))


# As commands


def invoke(monkeypatch: pytest.MonkeyPatch, scene: Scene, *arguments: str) -> Result:
    monkeypatch.setattr(cluster, "KubernetesCluster", lambda context, namespace: scene)
    monkeypatch.setattr(cluster, "CloudWatch", lambda: scene)
    monkeypatch.setattr("time.sleep", scene.sleep)
    return CliRunner().invoke(app, [*arguments])


def test_wait_prints_the_end_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = {"logTail": "line 1\nERROR: exit code: 2", "hint": "see the log"}
    scene = Scene(body("Running", attempts=1), body("BuildStepFailed", "False", message="exit 2", failure=failure))
    result = invoke(monkeypatch, scene, "wait", "web-1", "-n", "team-a")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "BuildStepFailed: exit 2", "", "  line 1", "  ERROR: exit code: 2", "", "hint: see the log",
    ]  # fmt: skip
    assert result.stderr.splitlines() == ["web-1: Running"]


def test_wait_tells_what_the_cache_was_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(body("Completed", "True", message="built", cache={"hitPercent": 75, "savedSeconds": 160}))
    result = invoke(monkeypatch, scene, "wait", "web-1")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["Completed: built", "75 % of the steps from the cache, 160 s saved"]


def test_wait_timeout_must_be_a_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(monkeypatch, Scene(body("Running")), "wait", "web-1", "--timeout", "soon").exit_code == 2
    assert invoke(monkeypatch, Scene(body("Running")), "wait", "web-1", "--timeout", "3s").exit_code == 3


def test_logs_go_to_standard_output_and_notes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(body("Completed", "True", attempts=1))
    scene.lines[scene.stream("build")] = ["#1"]
    result = invoke(monkeypatch, scene, "logs", "-f", "web-1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "#1\n", "buildcache: Completed\n")


def test_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(body("Running"))
    result = invoke(monkeypatch, scene, "cancel", "web-1")
    assert (result.exit_code, scene.cancelled) == (0, ["web-1"])


def test_cancel_of_what_has_ended_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(body("Completed", "True"))
    result = invoke(monkeypatch, scene, "cancel", "web-1")
    assert (result.exit_code, scene.cancelled) == (1, [])
    assert "Completed" in result.stdout


@pytest.mark.parametrize("command", ["logs", "wait", "cancel"])
def test_missing_build_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    result = invoke(monkeypatch, Scene(None), command, "web-9")
    assert (result.exit_code, result.stderr) == (1, "buildcache: there is no Build web-9\n")


def test_without_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    result = CliRunner().invoke(app, ["wait", "web-1"])
    assert result.exit_code == 1
    assert "KUBECONFIG" in result.stderr
