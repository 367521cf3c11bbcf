"""The runner on a copy of the checkout with three tiny notebooks: one works, one fails, one sleeps when told to."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from medlib.pairing import write_twins
from tests.book import runner
from tests.book.runner import ROOT

START = '# %% tags=["parameters"]\nprofile = "laptop"\nseed = 0\n# %%\nfrom medlib import run\n'
WORKS = START + 'run.start("97_works", globals())\n'
FAILS = START + 'run.start("98_fails", globals())\nprint("so far")\n# %%\nraise ValueError("a broken cell")\n'
SLEEPS = (
    START + 'run.start("99_sleeps", globals())\n'
    '# %%\nimport os, time\ntime.sleep(float(os.environ.get("TEST_SECONDS", 0)))\n'
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runner needs of the repository, with notebooks of its own."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("medlib", "book", "tools"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "_config.yml", "_toc.yml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    (root / "notebooks").mkdir()
    for name, text in {"97_works": WORKS, "98_fails": FAILS, "99_sleeps": SLEEPS}.items():
        (root / "notebooks" / f"{name}.py").write_text(text)
    write_twins(root)
    return root


@pytest.fixture(scope="module")
def broken_run(checkout: Path) -> subprocess.CompletedProcess:
    return runner.run(checkout)


def executed(checkout: Path, name: str) -> Path:
    return checkout / "build" / "smoke" / "executed" / f"{name}.ipynb"


def test_a_broken_notebook_fails_the_build(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    assert broken_run.returncode != 0
    assert "98_fails failed in cell" in broken_run.stdout
    assert "a broken cell" in broken_run.stdout
    assert not executed(checkout, "98_fails").exists()
    assert not (checkout / "build" / "smoke" / "site").exists()


def test_its_partial_notebook_is_kept(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    partial = checkout / "build" / "smoke" / "logs" / "98_fails.ipynb"
    assert str(partial.relative_to(checkout)) in broken_run.stdout
    outputs = [o for cell in nbformat.read(partial, 4).cells for o in cell.get("outputs", [])]
    assert any("so far" in o.get("text", "") for o in outputs)
    assert any(o.get("ename") == "ValueError" for o in outputs)


def test_the_other_notebooks_still_run(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    assert executed(checkout, "97_works").is_file()
    assert json.loads((checkout / "build/smoke/results/97_works.json").read_text())["profile"] == "smoke"


def test_nothing_is_run_twice(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    for path in [*(checkout / "medlib").rglob("*.py"), *(checkout / "notebooks").iterdir()]:
        path.touch()
    again = runner.run(checkout, "build/smoke/executed/97_works.ipynb", "--dry-run")
    assert "Nothing to be done" in again.stdout


def test_a_changed_library_runs_its_notebooks_again(
    checkout: Path, broken_run: subprocess.CompletedProcess
) -> None:
    changed = checkout / "medlib" / "ledger.py"
    before = changed.read_text()
    changed.write_text(before + "\n# changed\n")
    again = runner.run(checkout, "build/smoke/executed/97_works.ipynb", "--dry-run")
    changed.write_text(before)
    assert "Nothing to be done" not in again.stdout


def test_a_killed_run_resumes(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    target = "build/smoke/executed/99_sleeps.ipynb"
    executed(checkout, "99_sleeps").unlink()
    partial = checkout / "build" / "smoke" / "logs" / "99_sleeps.ipynb"
    slow = runner.environment(checkout) | {"TEST_SECONDS": "300"}
    run = subprocess.Popen(
        runner.command(target),
        cwd=checkout,
        env=slow,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not partial.exists():
        assert time.monotonic() < deadline and run.poll() is None, "the run never reached its notebook"
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()

    resumed = runner.run(checkout, target)
    assert resumed.returncode == 0, resumed.stdout
    assert executed(checkout, "99_sleeps").is_file()


def test_two_runs_of_one_profile_do_not_mix(checkout: Path, broken_run: subprocess.CompletedProcess) -> None:
    with FileLock(checkout / "build" / "smoke" / ".lock"):
        second = runner.run(checkout)
    assert second.returncode != 0
    assert "Another run is writing to build/smoke" in second.stdout


def test_an_unknown_profile_is_refused(checkout: Path) -> None:
    run = runner.run(checkout, profile="huge")
    assert run.returncode != 0
    assert "There is no profile 'huge'. Choose one of: laptop, paper, smoke." in run.stdout
