"""Load YAML files as data, without tags or code. Every error names file and key path.

node = load_yaml(path)
for name, item in node.mapping("profiles").items():
    item.only("fragments", "about")
    item.strings("fragments")
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from core.errors import UserError, nearest


def choice(*words: str) -> msgspec.Meta:
    """Restrict a text to some words: `Annotated[str, choice("a", "b")]`."""
    return msgspec.Meta(pattern=rf"^(?:{'|'.join(words)})\Z", extra_json_schema={"enum": list(words)})


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses repeated keys and all tags."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # A tag chooses the type of a value; even standard ones such as `!!bool maybe` raise errors of many kinds.
        if getattr(event, "tag", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the tag {event.tag} is refused", event.start_mark)
        return super().compose_node(parent, index)


def _mapping_without_doubles(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _value in node.value:
        key = loader.construct_object(key_node)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key} is there twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_doubles)


class Node:
    """A value of a YAML file, with its file and key path."""

    def __init__(self, value: Any, path: Path, where: str = "") -> None:
        self.value = value
        self.path = path
        self.where = where

    def error(self, what: str) -> UserError:
        """Return a UserError that names file and key path."""
        return UserError(f"{self.path}: {self.where or 'the file'}: {what}", f"correct {self.path}")

    def _at(self, key: str | int) -> str:
        return f"{self.where}.{key}" if self.where else str(key)

    def only(self, *known: str) -> None:
        """Refuse keys other than these."""
        for key in self._mapping():
            if key not in known:
                raise Node(None, self.path, self._at(key)).error(f"unknown key{nearest(str(key), known)}")

    def _mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error("expected a mapping")
        return self.value

    def has(self, key: str) -> bool:
        return key in self._mapping()

    def get(self, key: str) -> Node:
        """Return the value of a required key."""
        mapping = self._mapping()
        if key not in mapping:
            raise self.error(f"the key {key} is missing")
        return Node(mapping[key], self.path, self._at(key))

    def items(self) -> Iterator[tuple[str, Node]]:
        for key, value in self._mapping().items():
            if not isinstance(key, str):
                raise self.error(f"the key {key} must be a word; put it in quotes")
            yield key, Node(value, self.path, self._at(key))

    def mapping(self, key: str) -> dict[str, Node]:
        return dict(self.get(key).items())

    def elements(self, key: str, *, required: bool = False) -> list[Node]:
        """Return the elements of a list; empty if the key is absent and not required."""
        if not required and not self.has(key):
            return []
        node = self.get(key)
        if not isinstance(node.value, list):
            raise node.error("expected a list")
        return [Node(value, self.path, f"{node.where}[{i}]") for i, value in enumerate(node.value)]

    def string(self, key: str, default: str | None = None) -> str:
        if default is not None and not self.has(key):
            return default
        node = self.get(key)
        if not isinstance(node.value, str):
            raise node.error(f"expected text, got {node.value!r}; put it in quotes")
        return node.value

    def strings(self, key: str) -> list[str]:
        return [element.text() for element in self.elements(key)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error(f"expected text, got {self.value!r}")
        return self.value

    def integer(self, key: str, default: int | None = None) -> int:
        if default is not None and not self.has(key):
            return default
        node = self.get(key)
        if not isinstance(node.value, int) or isinstance(node.value, bool):
            raise node.error(f"expected a whole number, got {node.value!r}")
        return node.value

    def flag(self, key: str, *, default: bool = False) -> bool:
        if not self.has(key):
            return default
        node = self.get(key)
        if not isinstance(node.value, bool):
            raise node.error(f"expected true or false, got {node.value!r}")
        return node.value


def load_yaml(path: Path) -> Node:
    """Read a YAML file.

    Raises:
        UserError: the file does not exist, is not YAML, or has a key twice.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the name") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return parse_yaml(text, path)


@functools.lru_cache(maxsize=64)
def parse_yaml(text: str, path: Path) -> Node:
    """Read YAML text; errors name `path`."""
    try:
        return Node(yaml.load(text, Loader=_Loader), path)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML: {problem}", f"correct {path}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {error or 'nested too deeply'}", f"correct {path}") from None
