"""Where a task is in its life, whatever ECS calls it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.task_state import Phase, Task, TaskContainer

ARN = "arn:aws:ecs:eu-west-1:111122223333:task/builds/0123456789abcdef"
BEFORE = ("PROVISIONING", "PENDING", "ACTIVATING")
WAITING = TaskContainer("report", "PENDING")


@pytest.mark.parametrize("status", BEFORE)
@pytest.mark.parametrize(
    ("containers", "phase"),
    [
        pytest.param((), "Provisioning", id="ECS shows no containers yet"),
        pytest.param((TaskContainer("fetch", "PENDING"), WAITING), "Provisioning", id="nothing runs yet"),
        pytest.param((TaskContainer("fetch", "STOPPED"), WAITING), "Provisioning", id="one never ran"),
        pytest.param((WAITING, TaskContainer("fetch", "RUNNING")), "Running", id="the first runs"),
        pytest.param((WAITING, TaskContainer("fetch", "STOPPED", 0)), "Running", id="between the first and the next"),
        pytest.param((WAITING, TaskContainer("fetch", "STOPPED", 2)), "Running", id="the first has failed"),
    ],
)
def test_a_task_runs_as_soon_as_one_of_its_containers_does(
    status: str, containers: tuple[TaskContainer, ...], phase: Phase
) -> None:
    """ECS leaves a task whose containers run one after the other PENDING until the last one has started."""
    assert Task(ARN, last_status=status, containers=containers).phase == phase


@given(
    st.text(max_size=12) | st.sampled_from([*BEFORE, "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"]),
    st.lists(
        st.builds(
            TaskContainer,
            st.sampled_from(["fetch", "build", "report"]),
            st.sampled_from(["", "PENDING", "RUNNING", "STOPPED"]),
            st.none() | st.integers(0, 255),
        )
    ),
)
def test_containers_make_a_task_run_and_never_end_it(status: str, containers: list[TaskContainer]) -> None:
    alone, whole = (Task(ARN, last_status=status, containers=tuple(each)).phase for each in ((), containers))
    assert (alone == "Stopped") == (whole == "Stopped")
    assert whole == alone or (alone, whole) == ("Provisioning", "Running")
