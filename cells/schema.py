"""Read result.json into a Result, and describe the file by a JSON schema. Both follow the dataclasses.

`python -m cells.schema --write` rewrites docs/result.schema.json.
"""

from __future__ import annotations

import json
import re
import sys
import typing
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from cells import result
from cells.result import Result
from core import store
from core.arch import ARCHES
from core.errors import UserError
from guest.ktap import Test
from kernel.cell import CellNames

PUBLISHED = Path(__file__).parent.parent / "docs" / "result.schema.json"
COMMAND = "python -m cells.schema --write"
_TEST_LEVELS = 32
# The first files of format 1 were written before these keys existed.
_LATER = ("suites", "splats", "allowed", "noticed")
_NO_FILE_KEYS = ("folder", "cell", "copy")


def _model() -> Any:
    types = typing.get_type_hints(Result, include_extras=True)
    names: list[Any] = [
        (field.name, list[str], msgspec.field(default_factory=list)) if field.default == () else (field.name, str)
        for field in fields(CellNames)
        if field.name != "arch"
    ]
    arch = ("arch", Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(ARCHES)})])
    cell = msgspec.defstruct("CellNames", [arch, *names], kw_only=True, namespace={"__doc__": CellNames.__doc__})
    kept: list[Any] = [("format", Literal[1]), ("folder", str, ""), ("cell", cell), ("reasons", types["reasons"], ())]
    for field in fields(Result):
        if field.name in _LATER:
            kept.append((field.name, types[field.name], ()))
        elif field.name not in (*_NO_FILE_KEYS, "reasons"):
            kept.append((field.name, types[field.name]))
    return msgspec.defstruct("File", kept, kw_only=True, namespace={"__doc__": Result.__doc__})


_FILE = _model()


def parse(value: Any, folder: Path) -> Result:
    """Convert the JSON value of a result.json.

    Args:
        folder: present folder of the file.

    Raises:
        UserError: the value does not match the schema; the message names the key.
    """
    try:
        file = _convert(value)
        cell = {field.name: getattr(file.cell, field.name) for field in fields(CellNames)}
        content = {field.name: getattr(file, field.name) for field in fields(Result) if field.name not in _NO_FILE_KEYS}
    except msgspec.ValidationError as error:
        raise UserError(f"{result.FILE}: {_words(str(error))}") from None
    for i, suite in enumerate(file.suites):
        if _levels(suite.tests) > _TEST_LEVELS:
            raise UserError(f"{result.FILE}: suites[{i}].tests: nested more than {_TEST_LEVELS} deep")
    return Result(folder, cell, **content)


def _convert(value: Any) -> Any:
    try:
        return msgspec.convert(value, _FILE)
    except UnicodeEncodeError:
        # JSON can escape half of a surrogate pair, which is not text.
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return msgspec.convert(json.loads(text), _FILE)


def _words(error: str) -> str:
    """Return msgspec's error with the key first, as in the errors of YAML files."""
    cause, _, path = error.partition(" - at `$")
    cause = re.sub(
        r"`str` matching regex '\^\(\?:(.*)\)\\+Z'", lambda match: "one of " + match[1].replace("|", ", "), cause
    )
    return f"{path.rstrip('`').removeprefix('.') or 'the file'}: {cause[:1].lower()}{cause[1:]}"


def _levels(tests: tuple[Test, ...]) -> int:
    return 1 + max((_levels(test.subtests) for test in tests), default=-1)


def schema() -> dict[str, Any]:
    """Generate the JSON schema of result.json from the dataclasses."""
    (top,), parts = msgspec.json.schema_components([_FILE], ref_template="#/$defs/{name}")
    name = top["$ref"].rpartition("/")[2]
    for part in parts.values():
        _finish(part)
    file = parts.pop(name)
    file["required"] = [key for key in file["properties"] if key not in _LATER]
    title = {"title": "result.json of kcov-dataflow-kit"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **file, **title, "$defs": parts}


def _finish(part: dict[str, Any]) -> None:
    """Require what the toolkit always writes, and take the descriptions from the attributes in the docstring."""
    text = part.pop("description", "")
    documented = re.findall(r"^ +(\w+(?:, \w+)*): (.*)$", text.partition("Attributes:")[2], re.MULTILINE)
    about = {name: words for names, words in documented for name in names.split(", ")}
    for name, value in part["properties"].items():
        value.pop("default", None)
        if "enum" in value:
            value.pop("pattern", None)
        if name in about:
            value["description"] = about[name]
    part["required"] = list(part["properties"])
    part["additionalProperties"] = False


def text() -> str:
    """Return the content of docs/result.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    store.write_text(PUBLISHED, text())
