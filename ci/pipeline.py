"""Pipelines: the matrix as files that GitHub Actions and GitLab CI read.

What comes in is a matrix; what goes out is the text of a pipeline, always the same one for the same matrix. Nothing of
a pull request ever gets into a shell but through the environment; no job has more than a token that reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ci.matrices import Matrix, MatrixCell, Time
from core.errors import UnderTest, UserError, nearest

ROOT = Path(__file__).parent.parent
# Where each system looks for its pipeline.
FILES = {"github": ROOT / ".github" / "workflows" / "kernels.yml", "gitlab": ROOT / ".gitlab-ci.yml"}
# Jobs that one matrix may have ("Workflow syntax for GitHub Actions", jobs.<id>.strategy.matrix: 256; "CI/CD YAML
# syntax reference", parallel:matrix: 200).
LIMITS = {"github": 256, "gitlab": 200}
_RUNNER = "ubuntu-24.04"
# By commit, since a tag can be moved; the tag is what a person reads.
_ACTIONS = {
    "checkout": "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
    "cache": "actions/cache@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "cache_restore": "actions/cache/restore@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "upload": "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "download": "actions/download-artifact@d3f86a106a0bac45b974a628896c90dbdf5c8093 # v4.3.0",
}
# A tree, an image, a toolchain and a kernel of tiny; a job that cannot end well had better not begin.
_NEEDED_GB = 6
_PREFLIGHT = (
    f'test "$(df --output=avail -k "$HOME" | tail -n 1)" -ge $((${{KDF_FREE_GB:-{_NEEDED_GB}}} << 20)) || '
    f'{{ echo "less than ${{KDF_FREE_GB:-{_NEEDED_GB}}} GB are free at $HOME"; df -h; exit 3; }}'
)
_RESTORE = 'if [ -n "${KDF_SHARED:-}" ]; then ./invoke toolchain.build --name "$TOOLCHAIN" --from "$KDF_SHARED"; fi'


def generate(system: str, matrix: Matrix) -> str:
    """The text of a pipeline.

    Raises:
        UserError: there is no such system, or it cannot have so many jobs.
    """
    import jinja2

    if system not in FILES:
        raise UserError(f"there is no system {system}{nearest(system, FILES)}")
    groups = list(_by_time(matrix.cells))
    parts = list(_by_need(matrix.cells))
    largest = max(len(cells) for _time, cells in groups) if system == "github" else max(len(p[2]) for p in parts)
    if largest > LIMITS[system]:
        raise UserError(
            f"{system} allows {LIMITS[system]} jobs of a kind, the matrix {matrix.name} has {largest}",
            "make two matrices of it",
        )
    # The output is YAML: what is inserted goes through tojson, which is YAML, too, where it is not ours.
    environment = jinja2.Environment(  # noqa: S701  (no HTML)
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "ensure_ascii": False}
    environment.filters["tojson"] = _json
    return environment.get_template(f"{system}.yml.j2").render(
        name=matrix.name,
        toolchains=_toolchains(matrix),
        groups=groups,
        parts=parts,
        runner=_RUNNER,
        actions=_ACTIONS,
        preflight=_PREFLIGHT,
        restore=_RESTORE,
    )


def _toolchains(matrix: Matrix) -> list[tuple[str, bool, list[str]]]:
    """Jobs for toolchains: name, whether each must be made, and which; one of which no required cell is may fail."""
    required = list(dict.fromkeys(one.cell.toolchain for one in matrix.cells if one.required))
    others = list(dict.fromkeys(one.cell.toolchain for one in matrix.cells if one.cell.toolchain not in required))
    jobs = [("toolchain", True, required), ("toolchain-may-fail", False, others)]
    return [job for job in jobs if job[2]]


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _by_time(cells: Iterable[MatrixCell]) -> Iterable[tuple[Time, list[MatrixCell]]]:
    """The cells by their class of time: a job has one limit."""
    found: dict[Time, list[MatrixCell]] = {}
    for one in cells:
        found.setdefault(one.time, []).append(one)
    return found.items()


def _by_need(cells: Iterable[MatrixCell]) -> Iterable[tuple[bool, Time, list[MatrixCell]]]:
    """The cells by class of time, those that may fail apart: in GitLab a job may fail or not, with all its cells."""
    for time, alike in _by_time(cells):
        for required in (True, False):
            if chosen := [one for one in alike if one.required == required]:
                yield required, time, chosen


def check(system: str, matrix: Matrix, file: Path) -> None:
    """Compare a file with what would be generated.

    Raises:
        UnderTest: it is another one, or not there.
    """
    wanted = generate(system, matrix)
    try:
        there = file.read_text()
    except FileNotFoundError:
        there = ""
    if there != wanted:
        lines = difflib.unified_diff(there.splitlines(), wanted.splitlines(), str(file), "generated", lineterm="", n=0)
        changed = "\n".join(list(lines)[:20])
        raise UnderTest(
            f"{file} is not what ci/matrix.yaml says:\n{changed}",
            f"./invoke ci.generate {system} --matrix {matrix.name}",
        )
