"""The artefact store: content digests, one build per content, damage, and processes that die or wait."""

import importlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from medlib.store import Artefact, ArtefactStore, content_digest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "cache")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module on disk that a test may rewrite."""
    (tmp_path / "recipe_of_a_test.py").write_text("STEPS = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("recipe_of_a_test")
    del sys.modules["recipe_of_a_test"]


def fetch(store: ArtefactStore, recipe: ModuleType, value: float = 1.0, **inputs) -> Artefact:
    return store.fetch("net", inputs, lambda: {"w": torch.full((2, 3), value)}, [recipe])


# --- digests ----------------------------------------------------------------------------------------------------


@dataclass
class Record:
    a: int
    b: str


class Settings(BaseModel):
    a: int
    b: str


ARRAY = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ((1, 2), [1, 2]),
        (Record(1, "x"), {"b": "x", "a": 1}),
        (Settings(a=1, b="x"), {"b": "x", "a": 1}),
        (np.int64(3), 3),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2).bfloat16()),
        (ARRAY.T, np.ascontiguousarray(ARRAY.T)),
        (torch.ones(2), torch.nn.Parameter(torch.ones(2))),
    ],
)
def test_equal_contents_have_one_digest(one, other):
    assert content_digest(one) == content_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        (1, "1"),
        (None, "None"),
        ([1, 2], [2, 1]),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"b": 1}),
        ({"a": "b", "c": "d"}, {"a": "bc", "": "d"}),
        (ARRAY, ARRAY + np.eye(2, 3) * 1e-15),
        (ARRAY, ARRAY.astype(np.float32)),
        (ARRAY, ARRAY.reshape(3, 2)),
        (ARRAY, ARRAY.ravel()),
        (np.zeros(2, np.int32), np.zeros(2, np.float32)),
        (torch.zeros(1), torch.zeros(())),
    ],
)
def test_other_contents_have_other_digests(one, other):
    assert content_digest(one) != content_digest(other)


def test_a_digest_is_the_same_in_every_process():
    code = "from medlib.store import content_digest; print(content_digest({'b': 1, 'a': 'x'}))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout.strip() == content_digest({"a": "x", "b": 1})


@pytest.mark.parametrize("value", [len, {"a": lambda: 0}, [object()], {1, 2}, Record, np.array([object()]), {1: "a"}])
def test_what_has_no_content_is_refused(value):
    with pytest.raises(TypeError, match=r"has no defined content to hash\. Pass numbers, text, arrays"):
        content_digest(value)


# --- one build per content --------------------------------------------------------------------------------------


def test_the_second_fetch_finds_what_the_first_built(store: ArtefactStore, recipe: ModuleType):
    first, second = fetch(store, recipe, seed=1), fetch(store, recipe, value=9.0, seed=1)
    assert (first.built, second.built) == (True, False)
    assert torch.equal(second.tensors["w"], torch.full((2, 3), 1.0))
    assert first.digest == second.digest and first.folder == second.folder
    assert first.folder.name.startswith("net-")


def test_dtypes_shapes_and_values_come_back(store: ArtefactStore, recipe: ModuleType):
    made = {
        "transposed": torch.arange(6.0).view(2, 3).T,
        "half": torch.ones(1, dtype=torch.float16),
        "whole": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "learnt": torch.nn.Parameter(torch.ones(2)),
    }
    for _ in range(2):
        tensors = store.fetch("net", {}, lambda: made, [recipe]).tensors
        assert tensors.keys() == made.keys()
        assert all(torch.equal(tensors[k], made[k]) and tensors[k].dtype == made[k].dtype for k in made)
        assert not tensors["learnt"].requires_grad


def test_another_input_builds(store: ArtefactStore, recipe: ModuleType):
    assert fetch(store, recipe, value=1.0, seed=1).built
    other = fetch(store, recipe, value=2.0, seed=2)
    assert other.built and other.tensors["w"][0, 0] == 2.0
    assert fetch(store, recipe, seed=1).tensors["w"][0, 0] == 1.0


def test_changed_code_builds(store: ArtefactStore, recipe: ModuleType):
    fetch(store, recipe, value=1.0)
    Path(recipe.__file__).write_text("STEPS = 2  # changed\n")
    assert fetch(store, importlib.reload(recipe), value=2.0).built
    Path(recipe.__file__).write_text("STEPS = 1\n")
    again = fetch(store, importlib.reload(recipe), value=3.0)
    assert not again.built and again.tensors["w"][0, 0] == 1.0


def test_an_input_without_content_is_refused_before_anything_is_made(store: ArtefactStore, recipe: ModuleType):
    with pytest.raises(TypeError, match="no defined content"):
        store.fetch("net", {"loss": len}, lambda: pytest.fail("built"), [recipe])


def test_the_environment_says_where_the_default_store_lies(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "elsewhere"))
    assert ArtefactStore().root == tmp_path / "elsewhere"


# --- damage -----------------------------------------------------------------------------------------------------


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["tensors.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [halve, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_reported_and_made_again(store, recipe, caplog, file: str, damage):
    damage(fetch(store, recipe, value=1.0).folder / file)
    with caplog.at_level(logging.WARNING):
        repaired = fetch(store, recipe, value=2.0)
    assert repaired.built and repaired.tensors["w"][0, 0] == 2.0
    assert f"artefact {repaired.folder.name} is damaged" in caplog.text and "making it again" in caplog.text
    caplog.clear()
    assert not fetch(store, recipe).built and not caplog.records


def test_one_changed_byte_is_noticed(store: ArtefactStore, recipe: ModuleType, caplog):
    flip_a_byte(fetch(store, recipe).folder / "tensors.safetensors")
    assert fetch(store, recipe).built
    assert "its bytes do not match its manifest" in caplog.text


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"digest": "other"}', "\xff"])
def test_a_manifest_that_says_something_else(store, recipe, caplog, text: str):
    (fetch(store, recipe).folder / "manifest.json").write_text(text, encoding="latin-1")
    assert fetch(store, recipe).built and "is damaged" in caplog.text


def test_an_entry_copied_under_another_name_is_noticed(store: ArtefactStore, recipe: ModuleType, caplog):
    one, other = fetch(store, recipe, value=1.0, seed=1), fetch(store, recipe, value=2.0, seed=2)
    for name in ("manifest.json", "tensors.safetensors"):
        (other.folder / name).write_bytes((one.folder / name).read_bytes())
    assert fetch(store, recipe, value=2.0, seed=2).tensors["w"][0, 0] == 2.0
    assert "is damaged" in caplog.text


def entries(store: ArtefactStore) -> list[str]:
    """What lies in the store, apart from lock files."""
    return sorted(path.name for path in store.root.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("failure", [ValueError("no data"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_build_that_fails_leaves_nothing_and_the_next_one_works(store, recipe, failure: BaseException):
    def fail():
        raise failure

    with pytest.raises(type(failure)):
        store.fetch("net", {}, fail, [recipe])
    assert entries(store) == []
    assert fetch(store, recipe).built


def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(store, recipe, monkeypatch):
    def disk_full(tensors, path):
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("medlib.store.save_file", disk_full)
        fetch(store, recipe)
    assert entries(store) == []
    assert fetch(store, recipe).built


# --- processes --------------------------------------------------------------------------------------------------

PROGRAM = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import medlib.files, medlib.store
from medlib.store import ArtefactStore

folder, how = Path(sys.argv[1]), sys.argv[2]

def hang(*arguments):
    if len(arguments) == 2:
        Path(arguments[1]).write_bytes(b"half of it")
    (folder / "hanging").touch()
    time.sleep(60)

def build():
    with (folder / "builds").open("a") as marks:
        marks.write("built\\n")
    if how == "hang while building":
        hang()
    time.sleep(0.5)
    return {"w": torch.ones(2)}

if how == "hang while writing":
    medlib.store.save_file = hang
(folder / f"ready {sys.argv[3]}").touch()
while how == "together" and len(list(folder.glob("ready *"))) < 2:
    time.sleep(0.01)
artefact = ArtefactStore(folder / "cache").fetch("net", {"seed": 1}, build, [medlib.files])
print(artefact.built, artefact.tensors["w"].sum().item())
"""


def launch(folder: Path, how: str, number: int = 0) -> subprocess.Popen:
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    return subprocess.Popen(
        [sys.executable, folder / "program.py", folder, how, str(number)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_that_want_the_same_build_it_once(tmp_path: Path):
    processes = [launch(tmp_path, "together", number) for number in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(out for out, _ in outputs) == ["False 2.0\n", "True 2.0\n"]
    assert (tmp_path / "builds").read_text() == "built\n"
    waited = next(error for out, error in outputs if out.startswith("False"))
    assert "another process is making net; waiting for it" in waited


@pytest.mark.parametrize("how", ["hang while building", "hang while writing"])
def test_a_killed_process_blocks_nobody_and_its_draft_is_cleared(tmp_path: Path, how: str):
    process = launch(tmp_path, how)
    deadline = time.monotonic() + 60
    while not (tmp_path / "hanging").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = ArtefactStore(tmp_path / "cache")
    assert len(entries(store)) == (how == "hang while writing"), "a draft of the killed run"
    files = importlib.import_module("medlib.files")
    artefact = store.fetch("net", {"seed": 1}, lambda: {"w": torch.ones(2)}, [files])
    assert artefact.built
    assert entries(store) == [artefact.folder.name]
