"""The commands of a fresh machine, with a Python that only notes how it is called."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tools.imports import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Makes an environment whose python notes its calls; its pip fails once when told to.
FAKE_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    for last; do :; done
    mkdir -p "$last/bin"
    cp "$0" "$last/bin/python"
    echo "#!$PWD/$last/bin/python" > "$last/bin/pip"
    echo venv >> calls
elif [ "$1 $2 $3" = "-m pip install" ]; then
    echo install >> calls
    if [ -e fail ]; then rm fail; exit 1; fi
elif [ "$1 $2" = "-m pytest" ]; then
    echo pytest >> calls
fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "medlib" / "profiles").mkdir(parents=True)
    (tmp_path / "medlib" / "profiles" / "smoke.yaml").touch()
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def make(checkout: Path, *arguments: str, python: str = "./fake-python") -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("VENV", "MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments, f"PYTHON={python}"], cwd=checkout, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().split() if (checkout / "calls").exists() else []


def test_the_environment_is_made_once(checkout: Path) -> None:
    assert make(checkout, "test").returncode == 0
    assert calls(checkout) == ["venv", "install", "pytest"]
    make(checkout, "test")
    assert calls(checkout) == ["venv", "install", "pytest", "pytest"]


def test_an_interrupted_installation_is_done_again(checkout: Path) -> None:
    (checkout / "fail").touch()
    assert make(checkout, "test").returncode != 0
    assert calls(checkout) == ["venv", "install"]
    assert make(checkout, "test").returncode == 0
    assert calls(checkout) == ["venv", "install", "install", "pytest"]


def test_changed_dependencies_are_installed(checkout: Path) -> None:
    make(checkout, "environment")
    with (checkout / "constraints.txt").open("a") as stream:
        stream.write("\nsomething==1.0\n")
    make(checkout, "environment")
    assert calls(checkout) == ["venv", "install", "install"]
    assert len(list((checkout / ".venv").glob(".stamp-*"))) == 1


def test_a_moved_checkout_makes_its_environment_anew(checkout: Path, tmp_path: Path) -> None:
    make(checkout, "environment")
    moved = tmp_path / "moved"
    shutil.copytree(checkout, moved, ignore=shutil.ignore_patterns("moved"))
    make(moved, "environment")
    assert calls(moved) == ["venv", "install", "venv", "install"]


def test_an_old_python_is_refused_with_what_to_do(checkout: Path) -> None:
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = make(checkout, "environment", python="./old-python")
    assert refused.returncode != 0
    assert "is not Python 3.11 or newer. Name another: PYTHON=" in refused.stdout


def test_no_python_is_said_so(checkout: Path) -> None:
    refused = make(checkout, "environment", python="")
    assert refused.returncode != 0
    assert "No Python 3.11 or newer was found" in refused.stdout


def test_an_unknown_profile_is_refused(checkout: Path) -> None:
    refused = make(checkout, "known-profile", "PROFILE=huge")
    assert refused.returncode != 0
    assert "There is no profile 'huge'. Choose one of: smoke." in refused.stdout


def test_help_names_every_command(checkout: Path) -> None:
    text = make(checkout, "help").stdout
    for command in ("book", "test", "notebooks", "benchmark", "constraints", "environment", "clean"):
        assert f"  {command}" in text


def test_ci_calls_both_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines.index("make test") < lines.index("make book")
