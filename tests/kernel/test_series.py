"""A kernel's key and the series that it is built from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.runtime import Runtime
from core.store import Product
from kconfig import profiles
from kernel import kernels
from kernel.cell import CellNames, resolve
from patches import incoming
from sources import catalogue
from tests import mails
from toolchain import toolchains


def inputs(series: str) -> dict[str, object]:
    names = CellNames("plugin-19", series, "none", "tiny", "x86_64", "7.1.8")
    return dict(kernels.prepare(resolve(names), Runtime("host"), guard=False).inputs)


def test_what_is_said_of_an_imported_series_is_part_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Product("source", "1" * 64, tmp_path / "source", {})
    mails.make_tree(source.path / "src")
    toolchain = SimpleNamespace(key="2" * 64, manifest={})
    monkeypatch.setattr(catalogue, "source_tree", lambda _name: source)
    monkeypatch.setattr(toolchains, "ensure", lambda *_, **__: toolchain)
    monkeypatch.setattr(profiles, "request", lambda *_, **__: SimpleNamespace(asked=(), identity=lambda: "request"))
    (tmp_path / "in.mbox").write_bytes(mails.mbox(mails.series()))
    found = incoming.read(str(tmp_path / "in.mbox"))
    incoming.write("mine", found)
    unknown = inputs("mine")
    # A kernel keeps the layout of its records; with the old one its captures could not be read.
    incoming.write("mine", found, "L1", "K2")
    known = inputs("mine")
    assert unknown["tree"] == known["tree"]
    assert unknown != known
    assert "layout" not in inputs("none")
