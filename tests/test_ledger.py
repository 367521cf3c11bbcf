"""The ledger: what may be recorded, what is on disk, and the verdict that follows from claim and measurement."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from medlib import ledger
from medlib.files import write_atomically
from medlib.ledger import Claim, Condition, Ledger, Measurement, judge, load_claims, load_results
from medlib.paths import claims_file
from medlib.profiles import profile_names

ROOT = Path(__file__).resolve().parents[1]


def claim(**fields) -> Claim:
    usual = {"title": "t", "origin": "ours", "source": "ours", "part": "I", "notebook": "01_page", "how": "h"}
    return Claim(**{**usual, **fields})


def measured(value: float, interval: tuple[float, float] | None = None, profile: str = "laptop") -> Measurement:
    return Measurement(value, interval, profile=profile)


def verdict(of: Claim, measurement: Measurement) -> str:
    return judge(of, measurement).verdict


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    claims = {
        "a.ours": claim(reproduced=Condition(above=1.0)),
        "a.other": claim(reproduced=Condition(above=1.0)),
        "b.elsewhere": claim(reproduced=Condition(above=1.0), notebook="02_page"),
    }
    return Ledger("01_page", "smoke", 3, "cpu", claims, tmp_path / "results" / "01_page.json")


# --- conditions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "value", "interval", "holds"),
    [
        ({"within": 0.125}, 2.125, None, True),
        ({"within": 0.125}, 1.875, (0.0, 9.0), True),
        ({"within": 0.125}, 2.126, None, False),
        ({"relative": 0.1}, 1.81, None, True),
        ({"relative": 0.1}, 1.79, None, False),
        ({"relative": 0.1}, 2.21, None, False),
        ({"above": 1.0}, 1.1, None, True),
        ({"above": 1.0}, 1.0, None, False),
        ({"above": 1.0}, 1.5, (1.2, 1.8), True),
        ({"above": 1.0}, 1.5, (0.9, 1.8), False),
        ({"below": 1.0}, 0.9, None, True),
        ({"below": 1.0}, 1.0, None, False),
        ({"below": 1.0}, 0.5, (0.2, 0.8), True),
        ({"below": 1.0}, 0.5, (0.2, 1.2), False),
        ({"between": (1.0, 2.0)}, 1.0, None, True),
        ({"between": (1.0, 2.0)}, 2.0, (1.0, 2.0), True),
        ({"between": (1.0, 2.0)}, 1.5, (0.9, 1.9), False),
        ({"between": (1.0, 2.0)}, 1.5, (1.1, 2.1), False),
        ({"between": (1.0, 2.0)}, 0.9, (1.1, 1.9), False),
    ],
)
def test_conditions(condition: dict, value: float, interval: tuple | None, holds: bool):
    of = claim(paper=2.0, reproduced=Condition(**condition))
    assert verdict(of, measured(value, interval)) == ("reproduced" if holds else "not reproduced")


def test_relative_is_a_share_of_the_size_of_a_negative_number():
    of = claim(paper=-2.0, reproduced=Condition(relative=0.1))
    assert verdict(of, measured(-2.1)) == "reproduced"
    assert verdict(of, measured(2.0)) == "not reproduced"


def test_the_weaker_condition_gives_in_kind():
    of = claim(paper=2.9, reproduced=Condition(relative=0.1), in_kind=Condition(above=1.0))
    assert verdict(of, measured(2.8, (2.5, 3.1))) == "reproduced"
    assert verdict(of, measured(1.4, (1.2, 1.6))) == "in kind"
    assert verdict(of, measured(1.4, (0.9, 1.6))) == "not reproduced"


def test_another_scale_is_in_kind_at_best():
    of = claim(paper=2.9, reproduced=Condition(relative=0.1), in_kind=Condition(above=1.0), needs="paper")
    assert verdict(of, measured(2.9, profile="paper")) == "reproduced"
    assert verdict(of, measured(2.9, profile="laptop")) == "in kind"
    assert verdict(of, measured(1.4, profile="laptop")) == "in kind"
    assert verdict(of, measured(0.4, profile="laptop")) == "not reproduced"
    assert verdict(of, measured(0.4, profile="paper")) == "not reproduced"


def test_another_scale_without_a_weaker_form():
    of = claim(paper=2.9, reproduced=Condition(relative=0.1), needs="paper")
    assert verdict(of, measured(2.9, profile="laptop")) == "in kind"
    assert verdict(of, measured(9.9, profile="laptop")) == "not measurable here"
    assert verdict(of, measured(9.9, profile="paper")) == "not reproduced"


def test_what_cannot_be_measured_keeps_its_reason():
    outcome = judge(claim(not_measurable="the images are not public"), measured(1.0))
    assert (outcome.verdict, outcome.reason) == ("not measurable here", "the images are not public")


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"within": 0.1}, "within 0.1 of the published value"),
        ({"relative": 0.1}, "within 10% of the published value"),
        ({"above": 60.0}, "above 60"),
        ({"below": 1.0}, "below 1"),
        ({"between": (1.0, 2.0)}, "between 1 and 2"),
    ],
)
def test_the_reason_says_the_value_and_the_condition(condition: dict, words: str):
    of = claim(paper=2.0, reproduced=Condition(**condition))
    failed = judge(of, measured(50.5, (-40.0, 60.0)))
    assert failed.verdict == "not reproduced"
    assert failed.reason == f"measured 50.5 [-40.0, 60.0]: not {words}"


def test_the_reason_tells_a_wide_interval_from_a_value_that_fails():
    of = claim(reproduced=Condition(above=1.0))
    assert judge(of, measured(2.0, (0.5, 3.0))).reason == (
        "measured 2.00 [0.500, 3.00]: above 1, but the interval is too wide to decide"
    )
    assert judge(of, measured(0.9, (0.5, 3.0))).reason == "measured 0.900 [0.500, 3.00]: not above 1"


# --- claims -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{}, {"above": 1.0, "below": 2.0}, {"above": None}, {"over": 1.0}, {"above": "1"}, {"between": (1.0,)}],
)
def test_a_condition_is_exactly_one_test(fields: dict):
    with pytest.raises(ValidationError):
        Condition(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give `reproduced`, or `not_measurable`"),
        ({"in_kind": Condition(above=1.0)}, "give `reproduced`"),
        ({"reproduced": Condition(above=1.0), "not_measurable": "x"}, "has no conditions"),
        ({"reproduced": Condition(within=1.0)}, "need a published value"),
        ({"reproduced": Condition(above=1.0), "in_kind": Condition(relative=0.1)}, "need a published value"),
        ({"reproduced": Condition(above=1.0), "origin": "rumour"}, "origin"),
        ({"reproduced": Condition(above=1.0), "part": "V"}, "part"),
    ],
)
def test_incoherent_claims_are_refused(fields: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        claim(**fields)


def test_a_wrong_key_in_the_claims_file_is_named(tmp_path: Path):
    path = tmp_path / "claims.yml"
    fields = claim(reproduced=Condition(above=1.0)).model_dump(exclude_none=True) | {"papre": 2.0}
    path.write_text(yaml.safe_dump({"a.b": fields}))
    with pytest.raises(ValueError, match=r"a\.b\.papre: Extra inputs are not permitted"):
        load_claims(path)


def test_the_books_claims_load_and_belong_to_pages():
    claims = load_claims(claims_file())
    assert len(claims) > 10
    for key, entry in claims.items():
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", key), key
        assert re.fullmatch(r"\d\d_[a-z0-9_]+", entry.notebook), key
        assert "|" not in entry.title.replace(r"\|", "") and "\n" not in entry.title, f"{key}: breaks its table row"
        assert entry.needs is None or entry.needs in profile_names(), key
        assert entry.origin == "ours" or entry.paper is not None or entry.not_measurable or entry.reproduced, key


def test_no_claim_id_is_given_twice():
    keys = re.findall(r"^([\w.]+):", claims_file().read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize("source", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_names_all_its_claims_and_no_others(source: Path):
    claims = load_claims(claims_file())
    text = source.read_text(encoding="utf-8")
    papers = "|".join({key.split(".")[0] for key in claims})
    named = set(re.findall(rf'"((?:{papers})\.[\w.]+)"', text))
    assert named, "a notebook of the book measures something"
    assert named == {key for key, entry in claims.items() if entry.notebook == source.stem and not entry.not_measurable}


# --- recording --------------------------------------------------------------------------------------------------


def page(book: Ledger) -> dict:
    return json.loads(book.path.read_text(encoding="utf-8"))


def test_the_results_file_is_there_from_the_start_and_complete_after_every_record(book: Ledger):
    assert page(book)["measurements"] == {}
    book.record("a.ours", np.float32(1.5), (1.25, 1.75), n=24, note="≤ 1 px")
    first = page(book)
    assert first["measurements"] == {"a.ours": {"value": 1.5, "interval": [1.25, 1.75], "n": 24, "note": "≤ 1 px"}}
    assert {key: first[key] for key in ("notebook", "profile", "seed", "device")} == {
        "notebook": "01_page", "profile": "smoke", "seed": 3, "device": "cpu",
    }  # fmt: skip
    assert set(first["versions"]) >= {"python", "medlib", "torch", "numpy"} and first["seconds"] >= 0
    book.record("a.other", 2)
    assert page(book)["measurements"]["a.other"] == {"value": 2.0, "interval": None, "n": None, "note": ""}
    assert [path.name for path in book.path.parent.iterdir()] == ["01_page.json"]


def test_recorded_and_loaded_measurements_agree(book: Ledger):
    recorded = book.record("a.ours", 1.5, (1.25, 1.75), n=24, note="why")
    assert load_results(book.path.parent) == {"a.ours": recorded}
    assert recorded == Measurement(1.5, (1.25, 1.75), 24, "why", "01_page", "smoke", 3)


def test_counts_may_be_numpy_integers(book: Ledger):
    book.record("a.ours", 1.5, n=np.int64(3))
    assert page(book)["measurements"]["a.ours"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.nothing", 1.0), "unknown claim id 'a.nothing'. Add it to claims.yml"),
        (("b.elsewhere", 1.0), "b.elsewhere belongs to 02_page, not to 01_page"),
        (("a.ours", math.nan), "a.ours: value nan .*not finite.*Find where"),
        (("a.ours", math.inf), "not finite"),
        (("a.ours", 1.0, (math.nan, 2.0)), "not finite"),
        (("a.ours", 1.0, (0.0, math.inf)), "not finite"),
        (("a.ours", 1.0, (2.0, 0.0)), r"interval \(2.0, 0.0\) must be \(low, high\) with low ≤ high"),
        (("a.ours", 1.0, (0.0, 1.0, 2.0)), r"must be \(low, high\)"),
        (("a.ours", 1.0, (0.0,)), r"must be \(low, high\)"),
        (("a.ours", 1.0, None, 0), "n is the number of samples .* at least 1, not 0"),
        (("a.ours", 1.0, None, -2), "at least 1, not -2"),
    ],
)
def test_what_cannot_be_recorded_leaves_no_trace(book: Ledger, arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        book.record(*arguments)
    assert page(book)["measurements"] == {} == book.measurements
    book.record("a.ours", 1.0)


def test_a_claim_is_recorded_once(book: Ledger):
    book.record("a.ours", 1.5)
    with pytest.raises(ValueError, match=r"a\.ours was already recorded as 1\.5.*first cell"):
        book.record("a.ours", 9.0)
    assert page(book)["measurements"]["a.ours"]["value"] == 1.5


def test_without_an_open_ledger_the_message_says_how_to_open_one(monkeypatch):
    monkeypatch.setattr(ledger, "_open", None)
    with pytest.raises(RuntimeError, match=r"medlib\.run\.start"):
        ledger.record("a.ours", 1.0)


def test_the_modules_record_goes_to_the_open_ledger(book: Ledger, monkeypatch):
    monkeypatch.setattr(ledger, "_open", None)
    ledger.start(book)
    ledger.record("a.ours", 1.5)
    assert page(book)["measurements"]["a.ours"]["value"] == 1.5


# --- loading ----------------------------------------------------------------------------------------------------


def test_every_truncation_of_a_results_file_is_refused(book: Ledger):
    book.record("a.ours", 1.5)
    text = book.path.read_text().rstrip()
    for length in range(0, len(text), 5):
        write_atomically(book.path, text[:length])
        with pytest.raises(ValueError, match=r"01_page\.json is not a complete results file .*Run its notebook again"):
            load_results(book.path.parent)


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"measurements": null}'])
def test_another_json_file_is_refused(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="is not a complete results file"):
        load_results(tmp_path)


def test_two_notebooks_with_one_claim(book: Ledger):
    book.record("a.ours", 1.5)
    other = page(book) | {"notebook": "07_page"}
    write_atomically(book.path.with_name("07_page.json"), json.dumps(other))
    with pytest.raises(ValueError, match=r"a\.ours is measured by 01_page and by 07_page. Let one notebook"):
        load_results(book.path.parent)


def test_a_folder_without_results_has_no_measurements(tmp_path: Path):
    assert load_results(tmp_path) == {}
