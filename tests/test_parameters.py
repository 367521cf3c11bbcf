"""Papermill parameters are checked by name, type and value before anything runs."""

from pathlib import Path

import numpy as np
import pytest

from medlib.parameters import PARAMETERS, check_parameters

ALL = list(PARAMETERS)


def test_good_parameters_pass(tmp_path: Path):
    check_parameters({"profile": "smoke", "seed": 0, "polyps": str(tmp_path), "checkpoint": ""}, ALL)
    check_parameters({}, [])


def test_home_is_understood(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "polyps.npz").touch()
    check_parameters({"polyps": "~/polyps.npz"}, ALL)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("profil", "smoke", ValueError, "unknown parameter 'profil'. This notebook takes: profile, seed, polyps"),
        ("profile", "big", ValueError, "unknown profile 'big'"),
        ("profile", 1, TypeError, r"parameter profile is 1 \(int\), but must be str"),
        ("seed", True, TypeError, r"parameter seed is True \(bool\), but must be int"),
        ("seed", "0", TypeError, r"parameter seed is '0' \(str\), but must be int: seed of every random generator"),
        ("seed", 0.0, TypeError, r"parameter seed is 0\.0 \(float\)"),
        ("seed", None, TypeError, r"parameter seed is None"),
        ("seed", -1, ValueError, "seed is -1, .* Use 0 or more"),
        ("polyps", 3, TypeError, r"parameter polyps is 3 \(int\), but must be str: your images"),
        ("polyps", "nowhere.npz", FileNotFoundError, "nowhere.npz does not exist. Give the path .* or leave it empty"),
        ("checkpoint", "nowhere.pth", FileNotFoundError, "nowhere.pth does not exist"),
        ("reference", "nowhere.pth", FileNotFoundError, "nowhere.pth does not exist"),
    ],
)
def test_bad_parameters(name: str, value: object, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        check_parameters({name: value}, ALL)


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        (["polyps"], {}, "-p polyps PATH"),
        (["checkpoint"], {}, "-p checkpoint PATH"),
        (["checkpoint", "reference"], {"checkpoint": "."}, "-p reference PATH"),
    ],
)
def test_what_the_paper_profile_needs(declared: list[str], given: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        check_parameters({"profile": "paper", **given}, ["profile", *declared])
    check_parameters({"profile": "laptop"}, ["profile", *declared])


def test_a_reference_where_none_is_used(tmp_path: Path):
    with pytest.raises(ValueError, match="trains its own pair, which takes no reference"):
        check_parameters({"profile": "laptop", "reference": str(tmp_path)}, ALL)


def test_a_known_name_that_this_notebook_does_not_take():
    with pytest.raises(ValueError, match=r"unknown parameter 'checkpoint'\. This notebook takes: profile, seed\."):
        check_parameters({"checkpoint": ""}, ["profile", "seed"])


def test_a_notebook_cannot_declare_a_name_without_a_meaning():
    with pytest.raises(ValueError, match="unknown parameter 'colour'"):
        check_parameters({"colour": "blue"}, ["profile", "colour"])


def test_numpy_seeds_are_not_mistaken_for_whole_numbers():
    with pytest.raises(TypeError, match="float64"):
        check_parameters({"seed": np.float64(0)}, ALL)
