"""The command: exit statuses, and messages without a stack trace."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medlib import cli

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "01_dice_and_boundaries"


@pytest.fixture
def failing(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Run a command that must fail with status 1 and one line on stderr; returns that line."""

    def command(*arguments: str) -> str:
        assert cli.main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("medlib: ") and len(printed.err.splitlines()) == 1, printed.err
        assert not (tmp_path / "out.ipynb").exists()
        return printed.err

    return command


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    return ["run", NOTEBOOK, "--output", str(tmp_path / "out.ipynb")]


def test_unknown_profile(failing, run: list[str]):
    assert "unknown profile 'big'. Use one of: laptop, paper, smoke" in failing(*run, "--profile", "big")


def test_unknown_profile_of_a_model(failing, tmp_path: Path):
    manifest = tmp_path / "m.json"
    assert "unknown profile 'big'" in failing("prepare", "segmenter", "--profile", "big", "--output", str(manifest))
    assert not manifest.exists()


def test_preparing_the_pair_of_checkpoints_writes_its_manifest(tmp_path: Path):
    manifest = tmp_path / "pair.json"
    assert cli.main(["prepare", "pair", "--profile", "paper", "--output", str(manifest)]) == 0
    assert json.loads(manifest.read_text()) == {"pair": "vit_b", "weights": "the reader's checkpoints"}


def test_unknown_notebook(failing, tmp_path: Path):
    message = failing("run", "01_dice", "--output", str(tmp_path / "out.ipynb"))
    assert "there is no notebook '01_dice'" in message and NOTEBOOK in message


def test_unknown_parameter(failing, run: list[str]):
    message = failing(*run, "-p", "polips", "x")
    assert "unknown parameter 'polips'. This notebook takes: profile, seed, polyps, checkpoint" in message


def test_missing_path(failing, run: list[str]):
    assert "nowhere.npz does not exist. Give the path" in failing(*run, "-p", "polyps", "nowhere.npz")


def test_negative_seed(failing, run: list[str]):
    assert "seed is -1" in failing(*run, "--seed", "-1")


def test_parameter_given_twice(failing, run: list[str]):
    assert "polyps is given twice" in failing(*run, "-p", "polyps", "", "-p", "polyps", "")


def test_a_file_that_is_not_a_notebook(failing, tmp_path: Path):
    (tmp_path / "page.ipynb").write_text("not a notebook")
    failing("run", str(tmp_path / "page.ipynb"), "--output", str(tmp_path / "out.ipynb"))


def test_a_stop_is_not_an_error_in_the_code(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("medlib.pairing.stale_twins", stop)
    assert cli.main(["notebooks", "--check"]) == 130
    assert "run the same command to go on" in capsys.readouterr().err


def test_as_a_program_it_prints_no_stack_trace(run: list[str]):
    command = [sys.executable, "-m", "medlib", *run, "--seed", "zero"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == ""
    assert "argument --seed: invalid int value: 'zero'" in done.stderr and "Traceback" not in done.stderr


# --- notebooks --check ------------------------------------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the book's notebooks with fresh twins, on which the command works."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    monkeypatch.setattr(cli, "repository_root", lambda: tmp_path)
    assert cli.main(["notebooks"]) == 0
    return tmp_path / "notebooks"


def test_the_books_twins_are_up_to_date(capsys):
    assert cli.main(["notebooks", "--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda folder: (folder / f"{NOTEBOOK}.ipynb").unlink(), NOTEBOOK),
        (lambda folder: (folder / f"{NOTEBOOK}.py").open("a").write("\n# %%\nprint(1)\n"), NOTEBOOK),
        (lambda folder: (folder / f"{NOTEBOOK}.ipynb").open("a").write("\n"), NOTEBOOK),
    ],
    ids=["missing twin", "changed source", "changed twin"],
)
def test_check_names_what_is_out_of_date_and_writing_mends_it(scratch: Path, failing, capsys, change, name: str):
    capsys.readouterr()
    assert cli.main(["notebooks", "--check"]) == 0
    change(scratch)
    before = sorted(path.name for path in scratch.iterdir())
    message = failing("notebooks", "--check")
    assert f"out of date or missing: {name}.ipynb. Run `make notebooks`" in message
    assert sorted(path.name for path in scratch.iterdir()) == before, "a check writes nothing"
    assert cli.main(["notebooks"]) == 0
    assert capsys.readouterr().out == f"{name}.ipynb\n"
    assert cli.main(["notebooks", "--check"]) == 0


def test_outside_a_checkout_there_is_nothing_to_pair(monkeypatch, failing):
    monkeypatch.setattr(cli, "repository_root", lambda: None)
    assert "Run it from a clone of the book" in failing("notebooks")
