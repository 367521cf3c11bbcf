"""Artefacts → notebooks → site. `make book` calls it; see tools/snakemake/config.yaml for the settings.

snakemake --workflow-profile tools/snakemake --config profile=smoke
"""

import sys
from pathlib import Path

from filelock import FileLock, Timeout

sys.path.insert(0, workflow.basedir)
from tools.imports import library_files

PROFILE = config.get("profile", "laptop")
BUILD = config.get("build", "build")
OUT = f"{BUILD}/{PROFILE}"
PROFILES = {path.stem: path.as_posix() for path in sorted(Path("medlib/profiles").glob("*.yaml"))}
if PROFILE not in PROFILES:
    raise WorkflowError(f"There is no profile {PROFILE!r}. Choose one of: {', '.join(PROFILES)}.")

NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("[0-9][0-9]_*.py"))
# What a notebook needs before it starts; a notebook that is not named needs nothing.
ARTEFACTS = {
    "01_dice_and_boundaries": ["segmenter"],
    "02_boundary_leverage": ["segmenter"],
    "03_dual_intervention": ["pair", "segmenter"],
    "04_medcore_cascade": ["pair"],
    "05_head_fragility": ["segmenter"],
    "14_compensated_pruning": ["segmenter"],
}
BOOK_SOURCES = [
    path.as_posix()
    for path in sorted(Path("book").rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
]
LIBRARY = [path.as_posix() for path in sorted(Path("medlib").rglob("*.py"))]
PYTHON = sys.executable
JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")


def sources_of(script):
    """The files whose change runs the script again: the parts of medlib it imports, less every profile's settings."""
    return [path for path in library_files(script, "medlib/execute.py") if path not in PROFILES.values()]


rule site:
    input:
        executed=expand(f"{OUT}/executed/{{notebook}}.ipynb", notebook=NOTEBOOKS),
        results=expand(f"{OUT}/results/{{notebook}}.json", notebook=NOTEBOOKS),
        twins=expand("notebooks/{notebook}.ipynb", notebook=NOTEBOOKS),
        sources=["_config.yml", "_toc.yml", *BOOK_SOURCES],
        library=LIBRARY,
    output:
        f"{OUT}/site/html/index.html",
    log:
        f"{OUT}/logs/site.log",
    params:
        site=f"{OUT}/site",
    shell:
        """
        echo 'rendering the site'
        rm -rf {params.site}/_build {params.site}/html
        export MEDLIB_BUILD={BUILD} MEDLIB_PROFILE={PROFILE} OMP_NUM_THREADS=1
        {JUPYTER_BOOK} build . --path-output {params.site} -W --keep-going --all -n > {log} 2>&1 || {{
            grep -E 'WARNING|ERROR|Error' {log} >&2 || tail -n 30 {log} >&2
            echo 'The site was not built: every warning above is an error. Everything it said: {log}' >&2
            exit 1
        }}
        test -s {params.site}/_build/html/index.html
        mv {params.site}/_build/html {params.site}/html
        """


rule notebook:
    input:
        twin="notebooks/{notebook}.ipynb",
        artefacts=lambda wildcards: [f"{OUT}/artefacts/{name}.json" for name in ARTEFACTS.get(wildcards.notebook, [])],
        library=lambda wildcards: sources_of(f"notebooks/{wildcards.notebook}.py"),
        profile=PROFILES[PROFILE],
        environment="constraints.txt",
    output:
        executed=f"{OUT}/executed/{{notebook}}.ipynb",
        results=f"{OUT}/results/{{notebook}}.json",
    log:
        partial=f"{OUT}/logs/{{notebook}}.ipynb",
        output=f"{OUT}/logs/{{notebook}}.log",
    benchmark:
        f"{OUT}/benchmarks/{{notebook}}.tsv"
    threads: 1
    shell:
        """
        echo 'running {wildcards.notebook}'
        {PYTHON} -m medlib run {input.twin} --profile {PROFILE} --output {log.partial} --results {output.results} \
            > {log.output} 2>&1 || {{ tail -n 40 {log.output} >&2; exit 1; }}
        mv {log.partial} {output.executed}
        """


rule artefact:
    input:
        library=sources_of("medlib/models/__init__.py"),
        profile=PROFILES[PROFILE],
        environment="constraints.txt",
    output:
        f"{OUT}/artefacts/{{artefact}}.json",
    log:
        f"{OUT}/logs/{{artefact}}.log",
    benchmark:
        f"{OUT}/benchmarks/artefact_{{artefact}}.tsv"
    threads: 1
    shell:
        """
        echo 'preparing {wildcards.artefact}'
        {PYTHON} -m medlib prepare {wildcards.artefact} --profile {PROFILE} --output {output} \
            > {log} 2>&1 || {{ tail -n 40 {log} >&2; exit 1; }}
        """


onstart:
    running = FileLock(f"{OUT}/.lock")
    Path(OUT).mkdir(parents=True, exist_ok=True)
    try:
        running.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(f"Another run is writing to {OUT}. Wait for it, or stop it, then start again.")
