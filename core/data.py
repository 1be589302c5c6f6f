"""Load YAML files as data, without tags or code. Every error names file and key path.

limits = load(path, Limits)  # the file is one frozen dataclass

root = load_yaml(path)  # or entry by entry, where rules need the place of a value
for name, node in root.mapping("images").items():
    image = node.convert(ImageSpec, name=name)
    if image.stands_on not in known:
        raise node.get("stands_on").error("there is no such image")
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml

from core.errors import UserError, nearest

T = TypeVar("T")
# Names of the types in errors; the keys are the names that msgspec uses.
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


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

    def convert(self, kind: type[T], **given: Any) -> T:
        """Convert the value to a type that msgspec knows; keys that a dataclass does not have are refused.

        Args:
            kind: a frozen dataclass, or a list or mapping of them.
            given: attributes of the dataclass that are not keys of the file, such as the name of an entry.

        Raises:
            UserError: a key is unknown or missing, or a value has the wrong type; it names the innermost place.
        """
        for node, part in _places(self, kind):
            if is_dataclass(part):
                node.only(*(own.name for own in fields(part) if node is not self or own.name not in given))
        whole = Node({**self._mapping(), **given}, self.path, self.where) if given else self
        for node, part in _places(whole, kind):
            try:
                result = msgspec.convert(node.value, part)
            except msgspec.ValidationError as error:
                raise node.error(_cause(str(error), node.value, _choices(part))) from None
            except (UnicodeEncodeError, OverflowError):
                raise node.error(f"cannot be used: {node.value!r}") from None
        return typing.cast(T, result)  # the last place is the whole


def _cause(text: str, value: Any, words: list[str]) -> str:
    """Reword an error of msgspec about a value, which may be restricted to some words."""
    if key := re.match("Object missing required field `(.*?)`", text):
        return f"the key {key[1]} is missing"
    if words:
        close = nearest(str(value), words)
        return f"expected one of {', '.join(words)}, got {value!r}{close if 'did you mean' in close else ''}"
    expected = text.partition(", got `")[0].partition(" - at `")[0]
    expected = re.sub("`([a-z |]+)`", lambda match: _words(match[1].split(" | ")), expected)
    expected = expected[:1].lower() + expected[1:]
    if isinstance(value, dict | list):
        return expected
    return f"{expected}, got {value!r}{'; put it in quotes' if expected == 'expected text' else ''}"


def _words(kinds: list[str]) -> str:
    *first, last = [_WORDS.get(kind, kind) for kind in kinds]
    return f"{', '.join(first)} or {last}" if first else last


def _choices(kind: Any) -> list[str]:
    """Return the words of `choice`, if the type is restricted to some."""
    metas = kind.__metadata__ if typing.get_origin(kind) is Annotated else ()
    return [word for meta in metas for word in (getattr(meta, "extra_json_schema", None) or {}).get("enum", ())]


def _places(node: Node, kind: Any) -> Iterator[tuple[Node, Any]]:
    """Pair each value with the type that it should have, the innermost first."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind) and isinstance(node.value, dict):
        hints = _hints(typing.cast(type, kind))
        for key, part in node.items():
            if key in hints:
                yield from _places(part, hints[key])
    elif origin in (typing.Union, types.UnionType):
        # A mapping can only be the dataclass, and a list the tuple, so their errors are more exact than the union's.
        for argument in arguments:
            if (is_dataclass(argument) and isinstance(node.value, dict)) or (
                typing.get_origin(argument) is tuple and isinstance(node.value, list)
            ):
                yield from _places(node, argument)
    elif origin is Mapping and isinstance(node.value, dict):
        for part in dict(node.items()).values():
            yield from _places(part, arguments[1])
    elif origin in (list, tuple) and isinstance(node.value, list):
        for i, value in enumerate(node.value):
            yield from _places(Node(value, node.path, f"{node.where}[{i}]"), arguments[0])
    yield node, kind


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def load(path: Path, kind: type[T], **given: Any) -> T:
    """Read a YAML file into a type, as `Node.convert` does.

    Raises:
        UserError: it is not there, not YAML, or does not have the form of the type.
    """
    return load_yaml(path).convert(kind, **given)


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
