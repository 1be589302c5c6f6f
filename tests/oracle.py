"""An independent witness of what functions were passed: prints that libclang puts into the source.

Takes a program in C. Gives, for each function, the bytes of its parameters at each call and of its results, as they are
without optimization. Shares nothing with the pass: no table, no debug information, no compiler of ours.
"""

from __future__ import annotations

import collections
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRINTER = r"""
#include <stdio.h>
static void oracle_bytes(const void *at, unsigned long size)
{
	printf(" %lu:", size);
	for (unsigned long i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)at)[i]);
}
"""


@dataclass(frozen=True)
class Seen:
    """What one call, or one return, of a function was given.

    Attributes:
        values: the bytes of each value; None for a pointer, whose value differs from one build to another.
    """

    values: tuple[bytes | None, ...]


def _functions(unit: Any, path: Path) -> Iterator[Any]:
    from clang.cindex import CursorKind

    for cursor in unit.cursor.get_children():
        here = cursor.location.file is not None and Path(cursor.location.file.name) == path
        if here and cursor.kind == CursorKind.FUNCTION_DECL and cursor.is_definition() and cursor.spelling != "main":
            yield cursor


def _is_pointer(kind: Any) -> bool:
    from clang.cindex import TypeKind

    return kind.get_canonical().kind == TypeKind.POINTER


def _print(mark: str, name: str, values: Sequence[tuple[str, bool]]) -> str:
    """Return statements that print values: `(expression, whether it is a pointer)`."""
    parts = ['printf(" p");' if pointer else f"oracle_bytes(&({text}), sizeof({text}));" for text, pointer in values]
    return f'printf("{mark} {name}"); {" ".join(parts)} printf("\\n");'


def instrument(path: Path, arguments: Sequence[str]) -> str:
    """Return the text of a program with a print at each entry and before each return of its functions.

    Args:
        arguments: of the compiler, such as directories of headers.
    """
    from clang.cindex import CursorKind, Index

    unit = Index.create().parse(str(path), args=list(arguments))
    text = path.read_bytes()
    changes: list[tuple[int, int, str]] = []
    for function in _functions(unit, path):
        body = next(child for child in function.get_children() if child.kind == CursorKind.COMPOUND_STMT)
        parameters = [(p.spelling, _is_pointer(p.type)) for p in function.get_arguments()]
        start = body.extent.start.offset + 1
        changes.append((start, start, _print("A", function.spelling, parameters)))
        kind = function.result_type
        if kind.spelling == "void":
            continue
        for node in body.walk_preorder():
            if node.kind == CursorKind.RETURN_STMT:
                begin, end = node.extent.start.offset, node.extent.end.offset
                value = text[begin + len("return") : end].decode()
                said = _print("R", function.spelling, [("oracle_r", _is_pointer(kind))])
                changes.append((begin, end, f"{{ {kind.spelling} oracle_r = ({value}); {said} return oracle_r; }}"))
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new.encode() + text[end:]
    return PRINTER + text.decode()


def truth(path: Path, arguments: Sequence[str], folder: Path) -> Mapping[tuple[str, str], list[Seen]] | None:
    """Run a program without optimization; return `("A" or "R", function)` -> what it was given, in order.

    Returns:
        None if the program does not end within five seconds.
    """
    source, program = folder / "oracle.c", folder / "oracle"
    source.write_text(instrument(path, arguments))
    subprocess.run(["clang-19", "-O0", "-w", *arguments, source, "-o", program], check=True)
    try:
        done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=5)
    except subprocess.TimeoutExpired:
        return None
    seen: dict[tuple[str, str], list[Seen]] = collections.defaultdict(list)
    for line in done.stdout.splitlines():
        mark, _, rest = line.partition(" ")
        if mark in ("A", "R") and rest:
            name, *values = rest.split(" ")
            seen[mark, name].append(
                Seen(tuple(None if v == "p" else bytes.fromhex(v.partition(":")[2]) for v in values))
            )
    return seen
