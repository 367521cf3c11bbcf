"""The `claim` role and the `claims-table` directive: numbers and verdicts come from the ledger, never typed.

{claim}`medcore.blr95`               the measured value with its unit
{claim}`medcore.blr95:.2f`           the same with two decimals
{claim}`medcore.blr95.paper`         the published value
{claim}`medcore.blr95.interval:.2f`  [low, high]
{claim}`medcore.blr95.n`             the number of samples
"""

from collections import Counter
from functools import lru_cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.writers.html5 import HTML5Translator

from medlib.ledger import Claim, Measurement, Verdict, judge, load_claims, load_results

from .run_folder import run_folder
from .tables import notebook_link, table

LOGGER = logging.getLogger(__name__)
FIELDS = ("value", "paper", "interval", "n")
PARTS = ("I", "II", "III", "IV")
NOT_MEASURED = "not measured yet"
UNPUBLISHED = {"ours": "ours", "code": "in code", "paper": "in words"}


@lru_cache(maxsize=1)
def _claims(claims_file: Path, changed: int) -> dict[str, Claim]:
    """The claims file, read once for each of its states."""
    return load_claims(claims_file)


def read_ledger(env: BuildEnvironment) -> tuple[dict[str, Claim], dict[str, Measurement]]:
    """The claims and what the rendered run measured; the page that asks depends on the claims file."""
    claims_file = Path(env.srcdir) / "book" / "claims.yml"
    env.note_dependency(str(claims_file))
    return _claims(claims_file, claims_file.stat().st_mtime_ns), load_results(_results_folder(env))


def quoted(text: str, claims: dict[str, Claim], measurements: dict[str, Measurement]) -> str:
    """The number that a role's text asks for.

    Raises:
        LookupError: no such claim, or nothing published or measured under that name.
        ValueError: the format does not fit a number.
    """
    name, _, spec = text.partition(":")
    claim_id, field = _claim_and_field(name, claims)
    claim = claims[claim_id]
    if field == "paper":
        if claim.paper is None:
            raise LookupError(f"{claim_id} has no published value")
        return with_unit(published(claim.paper, spec), claim.unit)
    if claim_id not in measurements:
        raise LookupError(f"{claim_id} was not measured by {claim.notebook} in this run")
    measured = measurements[claim_id]
    if field == "value":
        return with_unit(measured_text(measured.value, spec), claim.unit)
    if getattr(measured, field) is None:
        raise LookupError(f"{claim_id} was recorded without {field}")
    return str(measured.n) if field == "n" else interval(measured, spec)


def with_unit(number: str, unit: str) -> str:
    """A number and its unit: 94.2%, 3.1 px."""
    shown = number.replace("-", "−")
    return f"{shown}{unit}" if unit in ("", "%") else f"{shown}\N{NO-BREAK SPACE}{unit}"


def published(value: float, spec: str = "") -> str:
    """A published number, with every digit of it unless a format says otherwise."""
    return format(value, spec or ",.10g")


def measured_text(value: float, spec: str = "") -> str:
    """A measured number: three digits, trailing zeros too, or what a format says."""
    if spec:
        return format(value, spec)
    return format(value, ",.0f") if abs(value) >= 1000 else format(value, "#.3g").rstrip(".")


def interval(measured: Measurement, spec: str = "") -> str:
    """[low, high]."""
    return "[" + ", ".join(with_unit(measured_text(bound, spec), "") for bound in measured.interval) + "]"


def _claim_and_field(name: str, claims: dict[str, Claim]) -> tuple[str, str]:
    if name in claims:
        return name, "value"
    claim_id, _, field = name.rpartition(".")
    if claim_id in claims and field in FIELDS:
        return claim_id, field
    raise LookupError(f"no claim {name!r} in book/claims.yml (fields of a claim: {', '.join(FIELDS)})")


def _results_folder(env: BuildEnvironment) -> Path:
    return run_folder(env.config, env.srcdir) / "results"


def _depend_on_results(env: BuildEnvironment, claims: list[Claim]) -> None:
    for notebook in {claim.notebook for claim in claims}:
        env.note_dependency(str(_results_folder(env) / f"{notebook}.json"))


class folded(nodes.General, nodes.Element):
    """Blocks that open on a click."""


def _open_fold(translator: HTML5Translator, node: folded) -> None:
    translator.body.append("<details><summary>How it is judged</summary>")


def _close_fold(translator: HTML5Translator, node: folded) -> None:
    translator.body.append("</details>")


class ClaimRole(SphinxRole):
    """One number of the ledger within a sentence."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Give the number, or a warning and question marks."""
        claims, measurements = read_ledger(self.env)
        try:
            _depend_on_results(self.env, [claims[_claim_and_field(self.text.partition(":")[0], claims)[0]]])
            shown = quoted(self.text, claims, measurements)
        except (LookupError, ValueError) as error:
            LOGGER.warning("{claim}`%s`: %s", self.text, error, location=self.get_location())
            shown = "??"
        return [nodes.inline(self.rawtext, shown, classes=["claim"])], []


def _part(argument: str) -> str:
    if argument not in PARTS:
        raise ValueError(f"there is no part {argument!r}; choose from {', '.join(PARTS)}")
    return argument


class ClaimsTable(SphinxDirective):
    """Every claim with its verdict first; `:part: I` keeps one part of the book."""

    option_spec = {"part": _part}  # noqa: RUF012, docutils wants a class attribute

    def run(self) -> list[nodes.Node]:
        """Build the table of the claims, in the order of the claims file."""
        claims, measurements = read_ledger(self.env)
        for unknown in measurements.keys() - claims.keys():
            LOGGER.warning(
                "%s was measured but is not in book/claims.yml", unknown, location=self.get_location()
            )
        part = self.options.get("part")
        chosen = {name: claim for name, claim in claims.items() if part in (None, claim.part)}
        _depend_on_results(self.env, list(chosen.values()))
        rows = [self._cells(name, claim, measurements.get(name)) for name, claim in chosen.items()]
        verdicts = Counter(_outcome(claim, measurements.get(name))[0] for name, claim in chosen.items())
        return [_counts(verdicts), table(("Verdict", "Claim", "Published", "Measured"), rows, "claims")]

    def _cells(self, claim_id: str, claim: Claim, measured: Measurement | None) -> list[list[nodes.Node]]:
        verdict, reason = _outcome(claim, measured)
        return [
            [nodes.paragraph("", "", _badge(verdict))],
            [
                nodes.paragraph("", "", *self._inline(claim.title)),
                folded(
                    nodes.paragraph("", "", *self._inline(claim.how)),
                    nodes.paragraph("", f"Here: {reason}."),
                    nodes.paragraph(
                        "",
                        f"Source: {claim.source}. Measured in ",
                        notebook_link(self.env, claim.notebook),
                        nodes.Text("."),
                    ),
                    nodes.paragraph("", "Id: ", nodes.literal(claim_id, claim_id)),
                ),
            ],
            [nodes.paragraph("", _published_cell(claim))],
            [nodes.paragraph("", line) for line in _measured_lines(claim, measured)],
        ]

    def _inline(self, text: str) -> list[nodes.Node]:
        content, _ = self.parse_inline(text)
        return content


def _outcome(claim: Claim, measured: Measurement | None) -> tuple[str, str]:
    if measured is None and claim.not_measurable is None:
        return NOT_MEASURED, f"waits for {claim.notebook}"
    verdict: Verdict = judge(claim, measured)
    return verdict.verdict, verdict.reason


def _counts(verdicts: Counter[str]) -> nodes.paragraph:
    """How many claims got each verdict, in one line."""
    entries = [
        nodes.inline("", "", _badge(name), nodes.Text(str(count))) for name, count in verdicts.most_common()
    ]
    return nodes.paragraph("", "", *entries, classes=["verdict-counts"])


def _badge(verdict: str) -> nodes.inline:
    return nodes.inline(verdict, verdict, classes=["verdict", f"verdict-{verdict.replace(' ', '-')}"])


def _published_cell(claim: Claim) -> str:
    """The published value, or who makes the claim when no value was published."""
    if claim.paper is None:
        return UNPUBLISHED[claim.origin]
    return with_unit(published(claim.paper), claim.unit)


def _measured_lines(claim: Claim, measured: Measurement | None) -> list[str]:
    if measured is None:
        return ["—"]
    lines = [with_unit(measured_text(measured.value), claim.unit)]
    if measured.interval is not None:
        lines.append(interval(measured))
    if measured.n is not None:
        lines.append(f"n = {measured.n}")
    return lines


def setup(app: Sphinx) -> dict:
    """Register the role and the directive."""
    app.setup_extension("_ext.run_folder")
    app.add_node(folded, html=(_open_fold, _close_fold))
    app.add_role("claim", ClaimRole())
    app.add_directive("claims-table", ClaimsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
