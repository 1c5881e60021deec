"""Sora's documented editor and a new user's five tasks, done in the studio's page by what a person can see."""

from __future__ import annotations

import pytest
import studio_table
from studio_rows.tasks import MOST


@pytest.mark.slow
def test_every_row_and_task_can_be_done_and_measures_well(browser, comfyui, tmp_path):
    url, results = comfyui("pinned", "--preview-method", "none").url, studio_table.Results(tmp_path / "results")
    outcome = studio_table.perform(browser, url, tmp_path / "home", results, [])
    assert {done.name: done.missed for done in (*outcome.rows, *outcome.tasks) if done.missed} == {}
    assert {task.name: task.actions for task in outcome.tasks if len(task.actions) > MOST} == {}
