"""Write the matrix as a pipeline of GitHub Actions or GitLab CI.

Takes a matrix. Gives the text of a pipeline, the same text for the same matrix. Text of a pull request reaches a shell
only through the environment. No job has more than a read-only token.
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
# Number of jobs that one matrix may have ("Workflow syntax for GitHub Actions", jobs.<id>.strategy.matrix: 256;
# "CI/CD YAML syntax reference", parallel:matrix: 200).
LIMITS = {"github": 256, "gitlab": 200}
_RUNNER = "ubuntu-24.04"
# By commit, because a tag can be moved. The comment has the tag for readers.
_ACTIONS = {
    "checkout": "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
    "cache": "actions/cache@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "cache_restore": "actions/cache/restore@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "upload": "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "download": "actions/download-artifact@d3f86a106a0bac45b974a628896c90dbdf5c8093 # v4.3.0",
}
# For a tree, an image, a toolchain and a kernel of tiny. A job with less disk would fail late.
_NEEDED_GB = 6
_PREFLIGHT = (
    f'test "$(df --output=avail -k "$HOME" | tail -n 1)" -ge $((${{KDF_FREE_GB:-{_NEEDED_GB}}} << 20)) || '
    f'{{ echo "less than ${{KDF_FREE_GB:-{_NEEDED_GB}}} GB are free at $HOME"; df -h; exit 3; }}'
)
_RESTORE = 'if [ -n "${KDF_SHARED:-}" ]; then ./invoke toolchain.build --name "$TOOLCHAIN" --from "$KDF_SHARED"; fi'


def generate(system: str, matrix: Matrix) -> str:
    """Return the text of a pipeline.

    Raises:
        UserError: there is no such CI system, or it does not allow so many jobs.
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
            "split the matrix in two",
        )
    # The output is YAML. Foreign text is inserted through tojson, because JSON is YAML too.
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
    """Return the jobs for toolchains; a job may fail if no required cell uses its toolchain."""
    required = list(dict.fromkeys(one.cell.toolchain for one in matrix.cells if one.required))
    others = list(dict.fromkeys(one.cell.toolchain for one in matrix.cells if one.cell.toolchain not in required))
    jobs = [("toolchain", True, required), ("toolchain-may-fail", False, others)]
    return [job for job in jobs if job[2]]


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _by_time(cells: Iterable[MatrixCell]) -> Iterable[tuple[Time, list[MatrixCell]]]:
    """Group the cells by their class of time, because a job has one limit."""
    found: dict[Time, list[MatrixCell]] = {}
    for one in cells:
        found.setdefault(one.time, []).append(one)
    return found.items()


def _by_need(cells: Iterable[MatrixCell]) -> Iterable[tuple[bool, Time, list[MatrixCell]]]:
    """Group the cells by class of time and by whether they may fail, because GitLab decides that per job."""
    for time, alike in _by_time(cells):
        for required in (True, False):
            if chosen := [one for one in alike if one.required == required]:
                yield required, time, chosen


def check(system: str, matrix: Matrix, file: Path) -> None:
    """Check that a file is what would be generated.

    Raises:
        UnderTest: it differs or does not exist.
    """
    wanted = generate(system, matrix)
    try:
        text = file.read_text()
    except FileNotFoundError:
        text = ""
    if text != wanted:
        lines = difflib.unified_diff(text.splitlines(), wanted.splitlines(), str(file), "generated", lineterm="", n=0)
        changed = "\n".join(list(lines)[:20])
        raise UnderTest(
            f"{file} differs from ci/matrix.yaml:\n{changed}",
            f"./invoke ci.generate {system} --matrix {matrix.name}",
        )
