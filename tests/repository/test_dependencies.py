"""requirements.txt says what is needed: nothing is missing from it, nothing idles in it."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.imports import ROOT, imported_names

# Needed without being imported by name, and where it is put to use.
USED_AS_A_TOOL = {
    "jupyter-book": "Snakefile",
    "snakemake": "Makefile",
    "sphinx-proof": "_config.yml",
    "django-static-mathjax": "book/_ext/offline.py",
    "ipykernel": "medlib/pairing.py",
}
SIGNS = {"ipykernel": "kernelspec", "sphinx-proof": "sphinx_proof", "django-static-mathjax": 'files("mathjax")'}


def declared() -> dict[str, Requirement]:
    return read_requirements("requirements.txt")


def read_requirements(name: str) -> dict[str, Requirement]:
    """The lines of a requirements file that hold on this machine."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in found if r.marker is None or r.marker.evaluate()}


def closure(names: set[str]) -> set[str]:
    """The distributions with everything they need here."""
    waiting, found = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        waiting += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_every_dependency_is_used() -> None:
    sources = [p for folder in ("medlib", "notebooks", "book/_ext", "tools") for p in (ROOT / folder).rglob("*.py")]
    imported = {name.split(".")[0] for path in sources for name in imported_names(path)}
    distributions = packages_distributions()
    used = {canonicalize_name(d) for name in imported for d in distributions.get(name, [])}
    idle = declared().keys() - used - USED_AS_A_TOOL.keys()
    assert idle == set(), "remove these from requirements.txt, or use them"


def test_every_tool_is_called() -> None:
    for name, file in USED_AS_A_TOOL.items():
        assert SIGNS.get(name, name) in (ROOT / file).read_text(encoding="utf-8"), f"{name} in {file}"


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = read_requirements("constraints.txt")
    for name, requirement in declared().items():
        (pin,) = pins[name].specifier
        assert pin.operator == "==", name
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{name}=={pin.version}"


def test_every_module_imports_with_the_declared_dependencies_only() -> None:
    allowed = closure(set(declared()) | {"medlib"})
    strangers = sorted(
        name for name, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed
    )
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "medlib").rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({strangers!r}))\n"  # importing a name bound to None fails
        f"for name in {modules!r}:\n    importlib.import_module(name)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr


def test_the_package_takes_its_dependencies_from_the_one_list() -> None:
    text = Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'files = ["requirements.txt"]' in text
    assert "\ndependencies = [" not in text
