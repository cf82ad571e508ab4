"""The summary of a batch has the figures of every command, and names what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ros_matching.batch.job_store import DONE, FAILURE, Job, JobStore, new_outcome
from ros_matching.batch.summary import BatchRun, batch_measurement, outcome_text, write_summary

TRACK = {"frames": 50, "tracked": 40, "ate_percent": 0.5, "ms_per_frame": 60.0}
REPORTS = {
    "hall": TRACK,
    "loop": {**TRACK, "loops": 2, "map": {"keyframes": 7}},
    "room": {"tables": [{"rows": [{"keyframes": 9, "points": 1000}]}, {"rows": [{"f2": 0.9}]}]},
}


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A batch with three results of different commands, a failure and a job that has not run."""
    store = JobStore(tmp_path)
    with store.opened() as token:
        for number, (name, report) in enumerate(REPORTS.items()):
            job = Job(name, f"/data/{name}", (), str(tmp_path), token)
            attempt = store.start_attempt(job)
            (attempt / "report.json").write_text(json.dumps(report))
            store.publish(attempt, new_outcome(job, DONE, started_s=10.0 * number + 1, ended_s=10.0 * number + 9))
        job = Job("odd", "/data/odd", (), str(tmp_path), token)
        store.publish(store.start_attempt(job), new_outcome(job, FAILURE, "no images | at all", started_s=1, ended_s=2))
    return store


def test_rows_have_the_figures_of_their_command(store: JobStore) -> None:
    jobs = [Job(name, f"/data/{name}", (), str(store.folder)) for name in (*REPORTS, "odd", "later")]
    run = BatchRun(elapsed_s=20.0, workers=2, ran=frozenset(REPORTS))
    measurement = batch_measurement(store, jobs, run, {"command": "track"})
    [totals], rows = measurement.tables[0].rows, {row["name"]: row for row in measurement.tables[1].rows}
    assert [totals[key] for key in ("recordings", "done", "failed", "missing")] == [5, 3, 1, 1]
    assert totals["busy"] == pytest.approx(3 * 8 / (2 * 20))
    assert (rows["hall"]["tracked"], rows["hall"]["ate_percent"], rows["loop"]["loops"]) == (0.8, 0.5, 2)
    assert (rows["room"]["points"], rows["room"]["f2"]) == (1000, 0.9)
    assert (rows["odd"]["status"], rows["later"]["status"]) == ("failed", "not run")
    assert {path.name for path in write_summary(measurement, store.folder)} >= {"batch.md", "batch.json"}
    assert "no images / at all" in (store.folder / "batch.md").read_text()  # a bar would end the cell
    assert "tracked % 80.0" in outcome_text(store, store.outcome("hall"))
    assert "no images" in outcome_text(store, store.failure("odd"))
