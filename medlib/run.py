"""The first cell of every notebook: check the parameters, open the ledger, hand out generators."""

import ast
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from medlib import ledger
from medlib.device import pick_device
from medlib.intervals import bootstrap_interval, clustered_interval
from medlib.parameters import PARAMETERS, check_parameters
from medlib.paths import claims_file
from medlib.profiles import Profile, load_profile
from medlib.store import ArtefactStore


@dataclass(frozen=True)
class Run:
    """What a notebook knows about its run.

    Attributes:
        notebook: its name.
        profile: the checked profile.
        seed: the run's seed.
        device: where tensors live.
        parameters: every parameter by name.
        store: keeps what takes long, by content.
    """

    notebook: str
    profile: Profile
    seed: int
    device: torch.device
    parameters: dict[str, Any]
    store: ArtefactStore

    def generator(self, purpose: str) -> np.random.Generator:
        """A NumPy generator of its own for each purpose, so that adding one does not change another."""
        return np.random.default_rng([self.seed, crc32(purpose.encode())])

    def record_mean(self, claim_id: str, values: Sequence[float], note: str = "") -> ledger.Measurement:
        """Record the mean of one value an image (or seed, or field), with its bootstrap interval and their number."""
        interval = bootstrap_interval(np.mean, values, generator=self.generator(claim_id))
        return ledger.record(claim_id, float(np.mean(values)), interval, n=len(values), note=note)

    def record_clustered(
        self, claim_id: str, clusters: Sequence[Sequence[float]], note: str = ""
    ) -> ledger.Measurement:
        """Record the mean of values that belong to clusters (trained models, say); see `clustered_interval`."""
        value = float(np.mean([np.mean(cluster) for cluster in clusters]))
        interval = clustered_interval(clusters, self.generator(claim_id))
        return ledger.record(claim_id, value, interval, n=sum(len(cluster) for cluster in clusters), note=note)

    def verdicts(self) -> "Verdicts":
        """What this notebook measured so far, judged; shown as a table. Closes the notebook's results file."""
        open_ledger = ledger.current()
        open_ledger.write()
        return Verdicts(
            [
                (open_ledger.claims[key], m, ledger.judge(open_ledger.claims[key], m))
                for key, m in open_ledger.measurements.items()
            ]
        )


@dataclass(frozen=True)
class Verdicts:
    """Judged measurements, as a table in a notebook."""

    rows: list[tuple[ledger.Claim, ledger.Measurement, ledger.Verdict]]

    def _repr_markdown_(self) -> str:
        lines = ["| verdict | measured | claim |", "|---|---|---|"]
        for claim, measured, verdict in self.rows:
            published = "" if claim.paper is None else f" (published: {claim.paper:g}{claim.unit and ' ' + claim.unit})"
            value = f"{measured}{claim.unit and ' ' + claim.unit}"
            lines.append(f"| **{verdict.verdict}** | {value} | {claim.title}{published} |")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return "\n".join(f"{verdict.verdict}: {claim.title} ({m.value:.4g})" for claim, m, verdict in self.rows)


def start(notebook: str, namespace: Mapping[str, Any]) -> Run:
    """Check the notebook's parameters and open its ledger; nothing is computed before this.

    Under papermill the injected names are checked too: papermill itself lets an unknown `-p` name pass in silence.
    Measurements go to the file named by $MEDLIB_RESULTS, else to `results/<notebook>.json`.

    Args:
        notebook: the notebook's name, without a suffix.
        namespace: the notebook's `globals()`.

    Raises:
        ValueError, TypeError, FileNotFoundError: see `medlib.parameters.check_parameters`.
    """
    parameters = {name: namespace[name] for name in PARAMETERS if name in namespace}
    declared, injected = _parameter_names(namespace.get("In", []))
    check_parameters({name: namespace.get(name) for name in injected}, declared or list(parameters))
    check_parameters(parameters, list(parameters))
    for required in ("profile", "seed"):
        if required not in parameters:
            raise ValueError(f"the notebook {notebook} has no parameter {required!r}. Add it to the parameters cell.")
    profile = load_profile(parameters["profile"])
    device = pick_device()
    path = Path(os.environ.get("MEDLIB_RESULTS") or Path("results") / f"{notebook}.json")
    ledger.start(
        ledger.Ledger(notebook, profile.name, parameters["seed"], str(device), ledger.load_claims(claims_file()), path)
    )
    return Run(notebook, profile, parameters["seed"], device, parameters, ArtefactStore())


def _parameter_names(history: list[str]) -> tuple[list[str], list[str]]:
    """Names assigned before papermill's injected cell, and names assigned in it, from IPython's input history."""
    declared: list[str] = []
    injected: list[str] = []
    for cell in history:
        try:
            statements = ast.parse(cell).body
        except SyntaxError:
            continue
        names = [t.id for s in statements if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)]
        if cell.lstrip().startswith("# Parameters\n"):
            injected += names
        elif not injected:
            declared += names
    return declared, injected
