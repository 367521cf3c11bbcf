"""The GitHub workflows: checked by actionlint where it is installed, and for their structure everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.imports import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # BaseLoader keeps the key `on`


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_structure(path: Path) -> None:
    workflow = load(path)
    assert {"name", "on", "permissions", "jobs"} <= workflow.keys()
    for job in workflow["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= job.keys()
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert "@" in step.get("uses", "@"), "an action without a version"


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing() -> None:
    run = subprocess.run(["actionlint", *WORKFLOWS], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.returncode == 0, run.stdout


def test_every_job_runs_the_commands_of_the_readme() -> None:
    tests, book = load(ROOT / ".github/workflows/tests.yml"), load(ROOT / ".github/workflows/book.yml")
    assert commands(tests["jobs"]["test"]) == ["make test"]
    assert commands(book["jobs"]["book"]) == ["make book"]
    assert commands(book["jobs"]["newest"]) == ["make constraints", "make test", "make book"]


def test_the_newest_versions_are_tried_every_week() -> None:
    book = load(ROOT / ".github/workflows/book.yml")
    assert book["on"]["schedule"]
    assert "schedule" in book["jobs"]["newest"]["if"]


def test_what_is_published_is_what_the_book_workflow_built() -> None:
    book, publish = load(ROOT / ".github/workflows/book.yml"), load(ROOT / ".github/workflows/publish.yml")
    assert publish["on"]["workflow_run"]["workflows"] == [book["name"]]
    assert commands(publish["jobs"]["publish"]) == []
