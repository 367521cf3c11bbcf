"""Every example in a docstring of medlib gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import medlib

MODULES = sorted(m.name for m in pkgutil.walk_packages(medlib.__path__, "medlib.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(bool(test.examples) for module in modules for test in finder.find(module)) >= 10
