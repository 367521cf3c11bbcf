"""Reading typed YAML, and files that are never half written."""

import os
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from medlib.files import read_yaml, write_atomically


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sizes: tuple[int, ...] = ()


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.yml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, Recipe)


def test_reads_text_and_sequences(tmp_path: Path):
    assert read(tmp_path, "name: naïve\nsizes: [1, 2]\n") == Recipe(name="naïve", sizes=(1, 2))


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.yml does not exist. Check the name"):
        read_yaml(tmp_path / "none.yml", Recipe)


@pytest.mark.parametrize("text", ["name: [", "name: a: b", "\tname: a"])
def test_a_file_that_is_not_yaml(tmp_path: Path, text: str):
    with pytest.raises(ValueError, match=r"recipe\.yml is not valid YAML"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "just text", "- name: a"])
def test_a_file_of_another_shape(tmp_path: Path, text: str):
    with pytest.raises(ValueError, match=r"recipe\.yml does not fit Recipe: the whole file"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["name: 3", "name: a\nsizes: ['1']", "name: a\nsizes: [true]", "name: a\nsize: [1]"])
def test_types_are_not_converted(tmp_path: Path, text: str):
    with pytest.raises(ValueError, match="does not fit Recipe"):
        read(tmp_path, text)


def test_tags_that_build_objects_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="not valid YAML"):
        read(tmp_path, f"name: !!python/object/apply:os.mkdir ['{tmp_path}/ran']")
    assert not (tmp_path / "ran").exists()


def test_write_makes_folders_and_replaces(tmp_path: Path):
    path = tmp_path / "a" / "b.json"
    write_atomically(path, "one")
    write_atomically(path, "zwei ≤ 3\n")
    assert path.read_text(encoding="utf-8") == "zwei ≤ 3\n"
    assert os.listdir(path.parent) == ["b.json"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("killed_in", ["os.replace", "os.chmod"])
@pytest.mark.parametrize("how", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path: Path, monkeypatch, killed_in: str, how: BaseException):
    path = tmp_path / "results.json"
    write_atomically(path, "old")

    def cut_short(*_):
        raise how

    with monkeypatch.context() as patch, pytest.raises(type(how)):
        patch.setattr(killed_in, cut_short)
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "results.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "x" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_reader_sees_the_old_text_or_the_new_one(tmp_path: Path):
    path, versions = tmp_path / "page.txt", [letter * 200_000 for letter in "ab"]
    write_atomically(path, versions[0])
    writer = threading.Thread(target=lambda: [write_atomically(path, versions[i % 2]) for i in range(60)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(versions)
