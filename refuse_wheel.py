"""Build backend of pip: lets the editable install of ./invoke through, and refuses a wheel.

The toolkit reads its YAML, patches and templates from its checkout, and its packages have names such as `core` and
`ci`. A wheel would lack the data and take those names in an environment.
"""

from __future__ import annotations

from typing import Any, NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
)

__all__ = ["build_editable", "get_requires_for_build_editable", "prepare_metadata_for_build_editable"]

_WHY = "kcov-dataflow-kit runs from its checkout and is not built as a package: clone the repository and run ./invoke"


def _refuse(*_words: Any, **_named: Any) -> NoReturn:
    raise SystemExit(f"error: {_WHY}")


build_wheel = build_sdist = get_requires_for_build_wheel = get_requires_for_build_sdist = _refuse
