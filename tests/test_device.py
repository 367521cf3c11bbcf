"""The one place where a device is chosen."""

import pytest
import torch

from medlib.device import pick_device


@pytest.fixture(autouse=True)
def no_preference(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MEDLIB_DEVICE", raising=False)


@pytest.mark.parametrize(("there", "expected"), [(False, "cpu"), (True, "cuda")])
def test_auto_takes_a_gpu_when_there_is_one(monkeypatch, there: bool, expected: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device().type == expected


def test_the_environment_decides_auto_and_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("MEDLIB_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
    monkeypatch.setenv("MEDLIB_DEVICE", "abacus")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:77", "cpu:x"])
def test_a_device_that_is_not_here(name: str):
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used here .* Use 'auto' or 'cpu'") as error:
        pick_device(name)
    assert "\n" not in str(error.value)


def test_a_wrong_environment_variable_is_an_error(monkeypatch):
    monkeypatch.setenv("MEDLIB_DEVICE", "abacus")
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        pick_device()
