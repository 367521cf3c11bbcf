"""A notebook's first cell: parameters from its namespace and from papermill, generators, and the verdicts."""

import json
from pathlib import Path

import numpy as np
import pytest

from medlib import ledger
from medlib.ledger import load_claims
from medlib.paths import claims_file
from medlib.run import Run, start

NOTEBOOK = "01_dice_and_boundaries"
DECLARED = 'profile = "smoke"  # or another\nseed = 0\npolyps = ""'


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and cache of a test lie in its own folder, and its ledger is closed afterwards."""
    monkeypatch.setattr(ledger, "_open", None)
    monkeypatch.setenv("MEDLIB_RESULTS", str(tmp_path / "results.json"))
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDLIB_DEVICE", "cpu")
    return tmp_path


def namespace(*cells: str, **variables) -> dict:
    """The globals of a notebook that ran these cells."""
    return {"profile": "smoke", "seed": 0, "polyps": "", "In": ["", *cells], **variables}


def begin(**variables) -> Run:
    return start(NOTEBOOK, {"profile": "smoke", "seed": 0, **variables})


def test_a_run_knows_its_profile_device_and_parameters(place: Path):
    run = start(NOTEBOOK, namespace(DECLARED, seed=5, unrelated=object()))
    assert (run.notebook, run.profile.name, run.seed, run.device.type) == (NOTEBOOK, "smoke", 5, "cpu")
    assert run.parameters == {"profile": "smoke", "seed": 5, "polyps": ""}
    assert run.store.root == place / "cache"
    page = json.loads((place / "results.json").read_text())
    assert (page["notebook"], page["profile"], page["seed"], page["measurements"]) == (NOTEBOOK, "smoke", 5, {})


def test_without_papermill_results_go_beside_the_notebook(place: Path, monkeypatch):
    monkeypatch.delenv("MEDLIB_RESULTS")
    monkeypatch.chdir(place)
    begin()
    assert (place / "results" / f"{NOTEBOOK}.json").is_file()


def test_what_papermill_injects_is_accepted_when_declared():
    start(NOTEBOOK, namespace(DECLARED, '# Parameters\nprofile = "smoke"\nseed = 4\n', seed=4))


@pytest.mark.parametrize(
    ("injected", "name"),
    [("sede = 4", "sede"), ("seed = 4\nbudget = 0.1", "budget"), ('checkpoint = ""', "checkpoint")],
)
def test_a_name_that_the_notebook_does_not_declare_is_an_error(injected: str, name: str, place: Path):
    variables = {name: "" if name == "checkpoint" else 4}
    with pytest.raises(ValueError, match=f"unknown parameter '{name}'. This notebook takes: profile, seed, polyps"):
        start(NOTEBOOK, namespace(DECLARED, f"# Parameters\n{injected}\n", **variables))
    assert not (place / "results.json").exists()


def test_cells_that_are_not_python_do_not_hide_the_parameters():
    cells = ["%matplotlib inline", "!ls", DECLARED, "# Parameters\nsede = 4\n"]
    with pytest.raises(ValueError, match="unknown parameter 'sede'"):
        start(NOTEBOOK, namespace(*cells))


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        ({"profile": "big"}, ValueError, "unknown profile 'big'"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"seed": -3}, ValueError, "seed is -3"),
        ({"polyps": "nowhere"}, FileNotFoundError, "nowhere does not exist"),
    ],
)
def test_wrong_values_stop_the_run_before_it_starts(variables: dict, error: type, message: str, place: Path):
    with pytest.raises(error, match=message):
        begin(**variables)
    assert not (place / "results.json").exists()
    with pytest.raises(RuntimeError, match="no ledger is open"):
        ledger.current()


@pytest.mark.parametrize("missing", ["profile", "seed"])
def test_profile_and_seed_are_needed(missing: str):
    variables = {"profile": "smoke", "seed": 0}
    del variables[missing]
    with pytest.raises(ValueError, match=f"has no parameter '{missing}'. Add it to the parameters cell"):
        start(NOTEBOOK, variables)


def draws(run: Run, purpose: str) -> np.ndarray:
    return run.generator(purpose).normal(size=2000)


def test_a_purpose_has_one_stream_whatever_else_was_drawn():
    first = begin()
    expected = draws(first, "a")
    draws(first, "b")
    np.testing.assert_array_equal(draws(first, "a"), expected)
    np.testing.assert_array_equal(draws(begin(), "a"), expected)


def test_purposes_and_seeds_have_streams_of_their_own():
    streams = [draws(begin(seed=seed), purpose) for seed in (0, 1) for purpose in ("a", "b", "")]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 0.1


def recordable() -> list[str]:
    """Ids of this notebook's claims."""
    return [key for key, claim in load_claims(claims_file()).items() if claim.notebook == NOTEBOOK]


def test_verdicts_are_a_table_with_a_row_for_each_measurement(place: Path):
    run, keys = begin(), recordable()
    ledger.record(keys[0], 0.94, (0.9, 0.97), n=3)
    ledger.record(keys[1], 1234567.0)
    table = run.verdicts()
    header, rule, *rows = table._repr_markdown_().splitlines()
    assert len(rows) == 2 and "verdict" in header
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1
    claims = load_claims(claims_file())
    for row, key in zip(rows, keys):
        outcome = ledger.judge(claims[key], ledger.current().measurements[key])
        assert f"**{outcome.verdict}**" in row and claims[key].title in row
    assert "0.940 [0.900, 0.970]" in rows[0]
    assert len(repr(table).splitlines()) == 2
    assert json.loads((place / "results.json").read_text())["measurements"].keys() == set(keys[:2])


def test_published_value_and_unit_stand_in_the_table():
    claim = ledger.Claim(
        title="Speed", origin="paper", source="s", paper=2.5, unit="ms", part="I", notebook=NOTEBOOK, how="h",
        reproduced=ledger.Condition(relative=0.1),
    )  # fmt: skip
    run = begin()
    ledger.current().claims = {"a.speed": claim}
    ledger.record("a.speed", 2.6)
    row = run.verdicts()._repr_markdown_().splitlines()[2]
    assert all(words in row for words in ("**reproduced**", "Speed", "2.5 ms", "2.60 ms"))


def test_starting_again_forgets_what_was_measured(place: Path):
    key = recordable()[0]
    begin()
    ledger.record(key, 0.9)
    begin()
    assert json.loads((place / "results.json").read_text())["measurements"] == {}
    ledger.record(key, 0.8)


def test_a_mean_is_recorded_with_its_interval_and_number():
    run = begin()
    measured = run.record_mean("medcore.ellipse.dice", [0.6, 0.7, 0.8, 0.9], "four images")
    assert measured.value == pytest.approx(0.75) and measured.n == 4 and measured.note == "four images"
    assert 0.6 <= measured.interval[0] < 0.75 < measured.interval[1] <= 0.9
    assert ledger.current().measurements["medcore.ellipse.dice"] == measured


def test_the_mean_of_one_image_has_no_interval():
    assert begin().record_mean("medcore.ellipse.dice", [0.6]).interval is None
