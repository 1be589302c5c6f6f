"""Hold docs/architecture.md to the code: its layers are the contract's, and the modules that it names exist."""

from __future__ import annotations

import re
import tomllib

from tests.docs import documented
from tests.docs.documented import ROOT

PAGE = ROOT / "docs" / "architecture.md"


def layers() -> list[str]:
    """Read the layers of the import contract, from the highest to the lowest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    return list(contract["layers"])


def rooms() -> set[str]:
    return {room for layer in layers() for room in layer.split(" | ")}


def test_the_page_shows_the_layers_of_the_contract() -> None:
    pictures = [block.lines for block in documented.blocks(PAGE.read_text()) if "core" in block.lines]
    assert pictures == [tuple(layers())]


def test_the_table_of_rooms_has_each_room_once_in_the_order_of_the_layers() -> None:
    section = PAGE.read_text().partition("## The rooms")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert names == [room for layer in layers() for room in layer.split(" | ")]


def test_every_module_that_the_page_names_exists() -> None:
    spans = {span for _number, span in documented.prose(PAGE.read_text())}
    dotted = [span.split(".") for span in spans if re.fullmatch(r"[a-z]+(\.[a-z_0-9]+)+", span)]
    modules = [parts for parts in dotted if parts[0] in rooms() and parts[-1] not in ("md", "yaml")]
    assert len(modules) > 30
    missing = [".".join(parts) for parts in modules if not ROOT.joinpath(*parts).with_suffix(".py").exists()]
    assert missing == []
