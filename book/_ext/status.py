"""`run-status`: what the run behind this site took, notebook by notebook."""

import csv
import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from .run_folder import run_folder
from .tables import Cell, notebook_link, table

LOGGER = logging.getLogger(__name__)
HEADER = ("Notebook", "Seconds", "Peak memory", "Profile", "Device", "Seed")


class RunStatus(SphinxDirective):
    """A table of the notebooks with seconds, peak memory, profile, device and seed."""

    def run(self) -> list[nodes.Node]:
        """Read the results and the benchmark records of the rendered profile."""
        folder = run_folder(self.config, self.env.srcdir)
        results = sorted((folder / "results").glob("*.json"))
        if not results:
            LOGGER.warning(
                "no results in %s. Run `make book`.", folder / "results", location=self.get_location()
            )
            return []
        return [table(HEADER, [self._cells(path) for path in results], "run-status")]

    def _cells(self, path: Path) -> list[Cell]:
        record = path.parents[1] / "benchmarks" / f"{path.stem}.tsv"
        for source in (path, record):
            self.env.note_dependency(str(source))
        page = json.loads(path.read_text(encoding="utf-8"))
        seconds, memory = f"{page['seconds']:.0f}", "—"
        if record.is_file():
            seconds, memory = _measured(record)
        link = nodes.paragraph("", "", notebook_link(self.env, page["notebook"]))
        return [[link], seconds, memory, page["profile"], page["device"], str(page["seed"])]


def _measured(record: Path) -> tuple[str, str]:
    """Seconds and peak memory from Snakemake's benchmark record."""
    with record.open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"))
    memory = "—" if row["max_rss"] in ("-", "NA") else f"{float(row['max_rss']) / 1024:.1f} GB"
    return f"{float(row['s']):.0f}", memory


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.setup_extension("_ext.run_folder")
    app.add_directive("run-status", RunStatus)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
