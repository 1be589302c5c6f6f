"""Task doctor: check this machine."""

from __future__ import annotations

from typing import Any

from commands.tables import print_json
from commands.task import command


@command(default=True, help={"install": "install the missing host packages"})
def check(_c: Any, json: bool = False, install: bool = False) -> None:
    """Check what this machine can do and what it lacks. Example: ./invoke doctor --json"""
    from core import host
    from sources import doctor
    from toolchain import image

    packages = image.host_packages("kernel")
    if install:
        host.ensure_packages(packages)
    report = doctor.examine(packages)
    if json:
        print_json(report.as_json())
    else:
        print(report.as_text())
