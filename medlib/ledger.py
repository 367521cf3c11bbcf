"""The ledger: what the papers say, what a notebook measured, and the verdict that follows.

A notebook calls `record`; the value goes to its results file at once, with the profile, seed, versions and seconds.
`book/claims.yml` says what each claim id means and how it is judged; `judge` brings the two together.
"""

import json
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel, model_validator

import medlib
from medlib.files import read_yaml, write_atomically

VerdictName = Literal["reproduced", "in kind", "not reproduced", "not measurable here"]


class Condition(BaseModel):
    """One test of a measured value: exactly one of the fields is set.

    Attributes:
        within: |value − paper| is at most this, in the claim's unit.
        relative: |value − paper| is at most this share of |paper|.
        above: the value, and its whole interval, lies above this.
        below: the value, and its whole interval, lies below this.
        between: the value, and its whole interval, lies in this closed range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    within: float | None = None
    relative: float | None = None
    above: float | None = None
    below: float | None = None
    between: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Condition":
        if sum(bound is not None for _, bound in self) != 1:
            raise ValueError("give exactly one of within, relative, above, below, between")
        return self

    @property
    def compares_with_paper(self) -> bool:
        """Whether the condition needs a published value."""
        return self.within is not None or self.relative is not None

    def holds(self, value: float, interval: tuple[float, float] | None, paper: float | None) -> bool:
        """Whether the condition is met by the value and, for one-sided and range tests, its whole interval."""
        if self.within is not None:
            return abs(value - paper) <= self.within
        if self.relative is not None:
            return abs(value - paper) <= self.relative * abs(paper)
        low, high = interval or (value, value)
        low, high = min(low, value), max(high, value)
        if self.above is not None:
            return low > self.above
        if self.below is not None:
            return high < self.below
        return self.between[0] <= low and high <= self.between[1]

    def __str__(self) -> str:
        if self.within is not None:
            return f"within {self.within:g} of the published value"
        if self.relative is not None:
            return f"within {self.relative:.0%} of the published value"
        if self.above is not None:
            return f"above {self.above:g}"
        if self.below is not None:
            return f"below {self.below:g}"
        return f"between {self.between[0]:g} and {self.between[1]:g}"


class Claim(BaseModel):
    """One statement that the book judges; the fields are those of `book/claims.yml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str
    origin: Literal["paper", "code", "ours"]
    source: str
    paper: float | None = None
    unit: str = ""
    part: Literal["I", "II", "III", "IV"]
    notebook: str
    how: str
    reproduced: Condition | None = None
    in_kind: Condition | None = None
    needs: str | None = None
    not_measurable: str | None = None

    @model_validator(mode="after")
    def _coherent(self) -> "Claim":
        conditions = [c for c in (self.reproduced, self.in_kind) if c is not None]
        if self.not_measurable is None and self.reproduced is None:
            raise ValueError("give `reproduced`, or `not_measurable` with the reason")
        if self.not_measurable is not None and conditions:
            raise ValueError("a claim that is not measurable has no conditions")
        if self.paper is None and any(c.compares_with_paper for c in conditions):
            raise ValueError("`within` and `relative` need a published value in `paper`")
        return self


class _Claims(RootModel[dict[str, Claim]]):
    pass


@dataclass(frozen=True)
class Measurement:
    """A measured value with its uncertainty and where it came from."""

    value: float
    interval: tuple[float, float] | None = None
    n: int | None = None
    note: str = ""
    notebook: str = ""
    profile: str = ""
    seed: int = 0

    def __str__(self) -> str:
        """The value with its interval, such as 1.21 [1.10, 1.33]."""
        numbers = [f"{number:#.3g}".rstrip(".") for number in (self.value, *(self.interval or ()))]
        return numbers[0] + (f" [{numbers[1]}, {numbers[2]}]" if self.interval else "")


@dataclass(frozen=True)
class Verdict:
    """The outcome for one claim, with the reason in a sentence."""

    verdict: VerdictName
    reason: str


def load_claims(path: Path | str) -> dict[str, Claim]:
    """Read `claims.yml`: claim id → Claim.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: unknown keys, wrong types, or a claim without a usable condition.
    """
    return read_yaml(Path(path), _Claims).root


def load_results(folder: Path | str) -> dict[str, Measurement]:
    """Read every results file of a folder: claim id → Measurement.

    Raises:
        ValueError: a file is truncated, or two notebooks measured the same claim.
    """
    measurements: dict[str, Measurement] = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            page = json.loads(path.read_text(encoding="utf-8"))
            found = page["measurements"].items()
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is not a complete results file ({error}). Run its notebook again.") from error
        for claim_id, entry in found:
            if claim_id in measurements:
                raise ValueError(
                    f"{claim_id} is measured by {measurements[claim_id].notebook} and by {page['notebook']}. "
                    "Let one notebook measure it."
                )
            measurements[claim_id] = Measurement(
                value=entry["value"],
                interval=tuple(entry["interval"]) if entry["interval"] else None,
                n=entry["n"],
                note=entry["note"],
                notebook=page["notebook"],
                profile=page["profile"],
                seed=page["seed"],
            )
    return measurements


def judge(claim: Claim, measurement: Measurement) -> Verdict:
    """Give the verdict on a claim from what was measured.

    "reproduced" needs the claim's condition, at the scale the claim asks for; "in kind" needs the weaker condition, or
    the full one at another scale; "not measurable here" is for claims that nothing here can measure, and for those that
    need another scale and have no weaker form.

    >>> claim = Claim(title="t", origin="ours", source="ours", part="I", notebook="n", how="h",
    ...               reproduced=Condition(above=1.0))
    >>> judge(claim, Measurement(1.4, (1.2, 1.6))).verdict
    'reproduced'
    >>> judge(claim, Measurement(1.4, (0.9, 1.6))).verdict
    'not reproduced'
    """
    if claim.not_measurable is not None:
        return Verdict("not measurable here", claim.not_measurable)
    value, interval, found = measurement.value, measurement.interval, f"measured {measurement}"
    at_scale = claim.needs is None or measurement.profile == claim.needs
    here = "" if at_scale else f", at the {measurement.profile} profile's scale"
    if claim.reproduced.holds(value, interval, claim.paper):
        return Verdict("reproduced" if at_scale else "in kind", f"{found}: {claim.reproduced}{here}")
    if claim.in_kind is not None and claim.in_kind.holds(value, interval, claim.paper):
        return Verdict("in kind", f"{found}: {claim.in_kind}, but not {claim.reproduced}")
    if not at_scale and claim.in_kind is None:
        return Verdict("not measurable here", f"the {claim.needs} profile is needed; {found}{here}")
    wanted = claim.reproduced if at_scale else claim.in_kind
    if wanted.holds(value, None, claim.paper):
        return Verdict("not reproduced", f"{found}: {wanted}, but the interval is too wide to decide")
    return Verdict("not reproduced", f"{found}: not {wanted}")


class Ledger:
    """The open ledger of one notebook run; every record is on disk when the call returns.

    Args:
        notebook: the notebook's name, without a suffix.
        profile: the profile's name.
        seed: the run's seed.
        device: the device's name.
        claims: the known claims, by id.
        path: the results file to write.
    """

    def __init__(
        self, notebook: str, profile: str, seed: int, device: str, claims: Mapping[str, Claim], path: Path
    ) -> None:
        self.notebook, self.profile, self.seed, self.device = notebook, profile, seed, device
        self.claims, self.path = claims, path
        self.measurements: dict[str, Measurement] = {}
        self._started = time.perf_counter()
        self.write()

    def record(
        self,
        claim_id: str,
        value: float,
        interval: tuple[float, float] | None = None,
        n: int | None = None,
        note: str = "",
    ) -> Measurement:
        """Add one measured value; see the module's `record`."""
        self._check_claim(claim_id)
        numbers = [float(value), *(float(bound) for bound in (() if interval is None else interval))]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(
                f"{claim_id}: value {value} with interval {interval} is not finite, so nothing was measured. "
                "Find where it became NaN or infinite before recording it."
            )
        if interval is not None and (len(numbers) != 3 or numbers[1] > numbers[2]):
            raise ValueError(f"{claim_id}: interval {interval} must be (low, high) with low ≤ high.")
        if n is not None and n < 1:
            raise ValueError(
                f"{claim_id}: n is the number of samples behind the value and must be at least 1, not {n}."
            )
        measurement = Measurement(
            numbers[0], tuple(numbers[1:]) or None, n and int(n), note, self.notebook, self.profile, self.seed
        )
        self.measurements[claim_id] = measurement
        self.write()
        return measurement

    def _check_claim(self, claim_id: str) -> None:
        if claim_id not in self.claims:
            raise ValueError(f"unknown claim id {claim_id!r}. Add it to claims.yml, or correct the name.")
        if self.claims[claim_id].notebook != self.notebook:
            raise ValueError(
                f"{claim_id} belongs to {self.claims[claim_id].notebook}, not to {self.notebook}. "
                "Record it there, or change claims.yml."
            )
        if claim_id in self.measurements:
            raise ValueError(
                f"{claim_id} was already recorded as {self.measurements[claim_id].value}. Record each claim once; "
                "to run cells again, start from the notebook's first cell."
            )

    def write(self) -> None:
        """Write the results file, atomically."""
        entries = {
            claim_id: {k: v for k, v in asdict(m).items() if k in ("value", "interval", "n", "note")}
            for claim_id, m in self.measurements.items()
        }
        page = {
            "notebook": self.notebook,
            "profile": self.profile,
            "seed": self.seed,
            "device": self.device,
            "seconds": round(time.perf_counter() - self._started, 1),
            "versions": {
                "python": platform.python_version(),
                "medlib": medlib.__version__,
                **{name: version(name) for name in ("torch", "numpy")},
            },
            "measurements": entries,
        }
        write_atomically(self.path, json.dumps(page, indent=1) + "\n")


_open: Ledger | None = None


def start(ledger: Ledger) -> None:
    """Make `ledger` the one that `record` writes to."""
    global _open
    _open = ledger


def current() -> Ledger:
    """The open ledger.

    Raises:
        RuntimeError: none is open.
    """
    if _open is None:
        raise RuntimeError("no ledger is open. Call medlib.run.start(...) in the notebook's first cell.")
    return _open


def record(
    claim_id: str,
    value: float,
    interval: tuple[float, float] | None = None,
    n: int | None = None,
    note: str = "",
) -> Measurement:
    """Record a measured value for a claim, once, in the results file of the running notebook.

    Args:
        claim_id: an id of `claims.yml` that names this notebook.
        value: the measured value, in the claim's unit.
        interval: (low, high) of its 95 % interval.
        n: number of samples (images, steps, seeds) behind it.
        note: one sentence on what limits it.

    Raises:
        RuntimeError: no ledger is open.
        ValueError: unknown id, an id of another notebook, a second value for the same id, a value that is not finite.
    """
    return current().record(claim_id, value, interval, n, note)
