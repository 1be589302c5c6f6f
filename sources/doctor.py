"""Examine what this machine has and lacks for this toolkit.

Takes the list of Debian packages that `--runtime host` needs, and gives a `Report` as text or JSON. Never changes,
installs or boots anything. Whether KVM works is read from the file that `guest.kvm` writes.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import engine, host, runtime, store
from core.errors import KitError
from sources import origins

OK, MISSING, DEGRADED = "ok", "missing", "degraded"
# A store with one toolchain, tree and kernel takes about 6 GB, an image 3 GB; LLVM from source another 5 GB.
_NEEDED_GB = 20
_NEEDED_MEMORY_GB = 4
_KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Row:
    """One thing that a machine has or lacks.

    Attributes:
        status: `ok`, `degraded` (everything works, but slower or with less), or `missing`.
        value: what was found, as text.
        advice: what to do, or empty.
    """

    name: str
    status: str
    value: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """All rows of one examination."""

    rows: tuple[Row, ...]

    @property
    def ready(self) -> bool:
        """Check whether nothing is missing."""
        return all(row.status != MISSING for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"ready": self.ready, "rows": [asdict(row) for row in self.rows]}

    def as_text(self) -> str:
        """Return the report as a table: with colours on a terminal, plain otherwise. No text is cut."""
        if not sys.stdout.isatty():
            width = max(len(row.name) for row in self.rows)
            lines = []
            for row in self.rows:
                lines.append(f"{row.name:<{width}}  {row.status:<8}  {row.value}")
                if row.advice:
                    lines.append(f"{'':<{width}}  {'':<8}  do: {row.advice}")
            return "\n".join(lines)
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        colours = {OK: "green", DEGRADED: "yellow", MISSING: "red"}
        table = Table(box=None, pad_edge=False)
        for title in ("what", "status", "found", "do"):
            table.add_column(title, overflow="fold")
        for row in self.rows:
            status = Text(row.status, style=colours[row.status])
            table.add_row(Text(row.name), status, Text(row.value), Text(row.advice))
        console = Console()
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip("\n")


def examine(packages: Sequence[str]) -> Report:
    """Examine this machine.

    Args:
        packages: Debian packages that `--runtime host` needs.
    """
    engine_row, engine_root = _engine()
    missing_needs = host.missing([host.need(package) for package in packages])
    rows = [
        Row("python", OK, platform.python_version()),
        _cores(),
        _memory(),
        _disk("disk of the home", store.home()),
        engine_row,
        *([_disk("disk of the engine", engine_root)] if engine_root else []),
        _kvm(),
        _apt(),
        _packages(packages, [need.package for need in missing_needs], has_engine=engine_row.status == OK),
    ]
    return Report(tuple(rows))


def _cores() -> Row:
    usable = len(os.sched_getaffinity(0))
    if usable > 1:
        return Row("cores", OK, str(usable))
    return Row("cores", DEGRADED, "1", "builds take long; give this machine more cores")


def _memory() -> Row:
    total, free = runtime.total_memory() / 1e9, runtime.available_memory() / 1e9
    value = f"{free:.1f} of {total:.1f} GB available"
    if free >= _NEEDED_MEMORY_GB:
        return Row("memory", OK, value)
    return Row("memory", DEGRADED, value, f"{_NEEDED_MEMORY_GB} GB let a kernel build and a guest run side by side")


def _disk(name: str, path: Path) -> Row:
    try:
        free = shutil.disk_usage(path).free / 1e9
    except OSError as error:
        return Row(name, DEGRADED, f"{path} cannot be read: {error.strerror}")
    value = f"{free:.0f} GB free at {path}"
    if free >= _NEEDED_GB:
        return Row(name, OK, value)
    return Row(name, DEGRADED, value, f"{_NEEDED_GB} GB are enough: ./invoke store.gc, or another disk for KDF_HOME")


def _engine() -> tuple[Row, Path | None]:
    """Return the row of the container engine, and the directory of its images if that is on this machine."""
    advice = "start one (as root: dockerd) to build in containers; without one, everything runs on the host"
    try:
        client = engine.client()
    except KitError as error:
        why = str(error.__cause__ or error.message).splitlines()[0]
        return Row("engine", DEGRADED, f"no Docker engine answers: {why[:120]}", advice), None
    try:
        with engine.errors("asking for its version"):
            facts = client.info()
            name = f"{client.version().get('Platform', {}).get('Name') or 'Docker'} {facts.get('ServerVersion', '?')}"
    except KitError as error:
        return Row("engine", DEGRADED, error.message, advice), None
    finally:
        client.close()
    root = Path(str(facts.get("DockerRootDir", "")))
    value = f"{name}, {facts.get('Driver', '?')}, cgroup {facts.get('CgroupVersion', '?')}, data in {root}"
    # This user may not be allowed to read the engine's directory. Then the first readable parent is on its file system.
    visible = next((path for path in (root, *root.parents) if root.is_absolute() and _exists(path)), None)
    return Row("engine", OK, value), visible


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _boot_time() -> float:
    """Return the time when this machine booted, in seconds since the epoch (btime of /proc/stat, proc(5))."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _proofs() -> list[dict[str, Any]]:
    """Read the results that `guest.kvm` has recorded since this machine booted, newest last."""
    try:
        loaded = json.loads((store.home() / "host.json").read_text())
        entries = [entry for entry in loaded["kvm"].values() if isinstance(entry.get("works"), bool)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    fresh = [entry for entry in entries if float(entry.get("when", 0)) >= _boot_time()]
    return sorted(fresh, key=lambda entry: float(entry.get("when", 0)))


def _kvm() -> Row:
    slow = "guests run under TCG, which works but is slower"
    if not _KVM.exists():
        return Row("kvm", DEGRADED, f"{_KVM} does not exist", slow)
    proofs = _proofs()
    if proofs:
        # There is one entry for each QEMU and architecture. The newest counts.
        proof = proofs[-1]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(proof.get("when", 0))))
        value = f"{proof.get('sentence', '')} (tried {when})"
        return Row("kvm", OK, f"proved: {value}") if proof["works"] else Row("kvm", DEGRADED, f"broken: {value}", slow)
    try:
        os.close(os.open(_KVM, os.O_RDWR))
    except OSError as error:
        value = f"{_KVM} cannot be opened: {error.strerror}"
        return Row("kvm", DEGRADED, value, f"join the group kvm; otherwise {slow}")
    value = f"{_KVM} can be opened, which proves nothing"
    return Row("kvm", DEGRADED, value, "the first boot of a guest shows whether it works")


def _apt() -> Row:
    urls = origins.apt_origins()
    if urls:
        return Row("apt origin", OK, ", ".join(origins.without_user(url) for url in urls))
    advice = "set KDF_SNAPSHOT or use ./invoke sources.fetch NAME --sha256 HASH; set KDF_BASE_IMAGE for the base image"
    return Row("apt origin", DEGRADED, "the apt configuration names no Debian archive", advice)


def _packages(packages: Sequence[str], missing: Sequence[str], *, has_engine: bool) -> Row:
    if not missing:
        return Row("packages", OK, f"all {len(packages)} that --runtime host needs")
    value = f"{len(missing)} of {len(packages)} are not installed: {' '.join(missing)}"
    line = host.apt_line(missing)
    advice = line if os.geteuid() == 0 else f"sudo {line}"
    if has_engine:
        return Row("packages", DEGRADED, f"{value} (containers have their own)", advice)
    return Row("packages", MISSING, value, advice)
