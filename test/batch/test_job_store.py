"""A result is published once, and a batch knows what is left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ros_matching.batch.job_store import DONE, FAILURE, Job, JobStore, new_outcome
from ros_matching.errors import ConfigError, SourceError


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "batch")


def job_of(store: JobStore, token: str, name: str = "kitchen") -> Job:
    return Job(name, "/data/kitchen", ("track", "/data/kitchen", "--out", "{out}"), str(store.folder), token)


def test_of_two_attempts_of_a_job_one_counts(store: JobStore) -> None:
    with store.opened() as token:
        job = job_of(store, token)
        first, second = store.start_attempt(job), store.start_attempt(job)
        (first / "report.json").write_text("first")
        (second / "report.json").write_text("second")
        published = store.publish(second, new_outcome(job, DONE, attempt=2))
        assert store.publish(first, new_outcome(job, DONE, attempt=1)) == published
        assert (store.folder / "results" / "kitchen" / "report.json").read_text() == "second"
        assert store.outcome("kitchen") == published
    assert not (store.folder / "running").exists()


def test_a_failure_is_not_a_result_and_is_removed_by_one(store: JobStore) -> None:
    with store.opened() as token:
        job = job_of(store, token)
        store.publish(store.start_attempt(job), new_outcome(job, FAILURE, "no images", attempt=1))
        store.publish(store.start_attempt(job), new_outcome(job, FAILURE, "no calibration", attempt=2))
        assert store.outcome("kitchen") is None
        assert store.failure("kitchen").reason == "no calibration"
        assert store.pending([job]) == [job]
        store.publish(store.start_attempt(job), new_outcome(job, DONE, attempt=3))
        assert store.failure("kitchen") is None
        assert store.pending([job]) == []


def test_results_of_another_command_are_not_mixed(store: JobStore) -> None:
    with store.opened() as token:
        job = job_of(store, token)
        store.publish(store.start_attempt(job), new_outcome(job, DONE))
        with pytest.raises(ConfigError, match="--restart"):
            store.pending([replace(job, arguments=("map", *job.arguments[1:]))])
        store.clear()
        assert store.pending([job]) == [job]


def test_a_folder_belongs_to_one_batch_at_a_time(store: JobStore) -> None:
    with store.opened(), pytest.raises(ConfigError, match="another batch runs"), store.opened():
        pass


def test_an_attempt_of_an_earlier_run_ends(store: JobStore) -> None:
    with store.opened() as old:
        assert store.is_current(old)
    assert not store.is_current(old)
    with store.opened() as new:
        assert store.is_current(new)
        with pytest.raises(SourceError, match="disk that all workers share"):
            store.start_attempt(job_of(store, old))


def test_placeholders_are_replaced() -> None:
    job = Job("hall", "/hall", ("track", "/hall", "--export", "colmap={out}/{name}"), "/b")
    assert job.arguments_in(Path("/b/running/hall-1"))[-1] == "colmap=/b/running/hall-1/hall"
