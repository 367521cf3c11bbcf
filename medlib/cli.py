"""The `medlib` command."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medlib.files import write_atomically
from medlib.parameters import PARAMETERS
from medlib.paths import repository_root
from medlib.profiles import load_profile, profile_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake ends in one message on stderr and exit status 1, never in a stack trace."""
    options = _parser().parse_args(arguments)
    from medlib.execute import NotebookFailed

    try:
        return options.command(options)
    except (ValueError, TypeError, OSError, NotebookFailed) as error:
        print(f"medlib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("medlib: stopped; run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medlib", description="Run and check the notebooks of the book.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute one notebook with papermill")
    run.add_argument("notebook", help="its name, such as 01_dice_and_boundaries, or a path to an .ipynb")
    run.add_argument("--profile", default="laptop", help=f"one of {', '.join(profile_names())} (default: laptop)")
    run.add_argument("--seed", type=int, default=0, help="seed of every random generator (default: 0)")
    known = "; ".join(f"{name}: {p.meaning}" for name, p in PARAMETERS.items() if name not in ("profile", "seed"))
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=known)
    run.add_argument("--output", type=Path, required=True, help="the executed notebook to write")
    run.add_argument("--results", type=Path, help="the measurements to write (default: beside the output)")
    run.set_defaults(command=_run)

    prepare = commands.add_parser("prepare", help="train or verify a model that notebooks need")
    prepare.add_argument("artefact", choices=["segmenter", "pair"])
    prepare.add_argument("--profile", default="laptop")
    prepare.add_argument("--output", type=Path, required=True, help="the manifest (.json) to write when it is ready")
    prepare.set_defaults(command=_prepare)

    twins = commands.add_parser("notebooks", help="write notebooks/*.ipynb from notebooks/*.py")
    twins.add_argument("--check", action="store_true", help="only say which are stale, and fail if any is")
    twins.set_defaults(command=_notebooks)
    return parser


def _run(options: argparse.Namespace) -> int:
    from medlib.execute import run_notebook

    parameters: dict[str, Any] = {"profile": options.profile, "seed": options.seed}
    for name, text in options.p:
        if name in ("profile", "seed"):
            raise ValueError(f"give {name} as --{name} {text}.")
        if name in parameters:
            raise ValueError(f"parameter {name} is given twice. Give it once.")
        wanted = PARAMETERS[name].type if name in PARAMETERS else str
        parameters[name] = wanted(text)
    results = options.results or options.output.with_suffix(".results.json")
    run_notebook(options.notebook, parameters, options.output, results)
    print(f"{options.output}\n{results}")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from medlib.models import prepare_pair, prepare_segmenter

    profile = load_profile(options.profile)
    manifest = prepare_pair(profile.pruning) if options.artefact == "pair" else prepare_segmenter(profile.segmentation)
    write_atomically(options.output, json.dumps(manifest, indent=1) + "\n")
    return 0


def _notebooks(options: argparse.Namespace) -> int:
    from medlib.pairing import orphans, stale_twins, write_twins

    root = repository_root()
    if root is None:
        raise FileNotFoundError("this command pairs the notebooks of a checkout. Run it from a clone of the book.")
    if not options.check:
        for name in write_twins(root):
            print(name)
        return 0
    if stale := stale_twins(root):
        raise ValueError(f"out of date or missing: {', '.join(stale)}. Run `make notebooks` and commit the result.")
    if alone := orphans(root):
        raise ValueError(f"without a .py: {', '.join(alone)}. Write the .py, or take the file out of notebooks/.")
    return 0
