"""Profiles: three that load, and every way a name or a file can be wrong."""

from pathlib import Path

import pytest

from medlib import profiles
from medlib.profiles import load_profile, profile_names

PROFILES = Path(profiles.__file__).parent


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load the smoke profile after replacing text in a copy of its file."""

    def load(old: str, new: str):
        text = (PROFILES / "smoke.yaml").read_text(encoding="utf-8")
        assert text.count(old) == 1
        (tmp_path / "smoke.yaml").write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(profiles, "FOLDER", tmp_path)
        return load_profile("smoke")

    return load


def test_the_three_profiles_load_and_know_their_names():
    assert profile_names() == ["laptop", "paper", "smoke"]
    assert [load_profile(name).name for name in profile_names()] == profile_names()


def test_profiles_grow_from_smoke_to_paper():
    sizes = [load_profile(name).segmentation.images for name in ("smoke", "laptop", "paper")]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_only_a_model_that_is_trained_here_has_training_steps():
    for name in profile_names():
        settings = load_profile(name).segmentation
        assert (settings.training_steps > 0) == (settings.model == "tiny_sam"), name


def test_only_a_pair_that_is_trained_here_has_training_steps():
    for name in profile_names():
        settings = load_profile(name).pruning
        trained = settings.pair == "trained"
        steps = (settings.training_images, settings.reference_steps, settings.adaptation_steps)
        assert [count > 0 for count in steps] == [trained] * 3, name


def test_gates_are_largest_first():
    for name in profile_names():
        gates = load_profile(name).leverage.gates
        assert gates[0] == 1.0 and list(gates) == sorted(gates, reverse=True), name


def test_a_profile_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_profile("smoke").name = "laptop"


@pytest.mark.parametrize("name", ["big", "", "smoke.yaml", "../profiles/smoke"])
def test_unknown_profile_lists_those_that_exist(name: str):
    with pytest.raises(ValueError, match=r"unknown profile .*Use one of: laptop, paper, smoke"):
        load_profile(name)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("images: 4", 'images: "4"', "segmentation.images: Input should be a valid integer"),
        ("images: 4", "images: true", "segmentation.images: Input should be a valid integer"),
        ("images: 4", "images: 4.0", "segmentation.images: Input should be a valid integer"),
        ("images: 4", "images: 0", "segmentation.images: Input should be greater than or equal to 1"),
        ("images: 4", "images: 4\n  imagse: 4", "segmentation.imagse: Extra inputs are not permitted"),
        ("  images: 4\n", "", "segmentation.images: Field required"),
        ("data: phantoms", "data: photographs", "segmentation.data"),
        ("head_budgets: [0.25]", "head_budgets: [1.25]", "leverage.head_budgets.0"),
        ("head_budgets: [0.25]", "head_budgets: 0.25", "leverage.head_budgets"),
        ("purpose: every", "nonsense: [1]\npurpose: every", "nonsense: Extra inputs"),
    ],
)
def test_a_misfit_is_named_by_file_and_place(edited, old: str, new: str, place: str):
    with pytest.raises(ValueError, match=rf"smoke\.yaml does not fit Profile: .*{place}.*Correct these entries"):
        edited(old, new)


def test_every_misfit_is_listed(edited):
    with pytest.raises(ValueError, match=r"segmentation\.images: .*segmentation\.image_size: "):
        edited("images: 4\n  image_size: 128", "images: x\n  image_size: y")


def test_a_name_inside_the_file_that_is_not_the_files_own(edited):
    with pytest.raises(ValueError, match=r"smoke\.yaml says its name is 'laptop'. Make the two agree"):
        edited("name: smoke", "name: laptop")
