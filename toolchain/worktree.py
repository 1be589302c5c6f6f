"""Keep the source of a compiler: an unpacked archive with our changes, in a directory of its own.

Takes the unpacked source and the changed files. Ninja compares the times of files, so a file is only written if its
bytes differ; all others are hard links to the archive's files. Never writes into an existing file, because it may be a
link to the store's file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from core import process, store
from core.errors import InfraError

_STATE = ".changed.json"  # written before the first change, so that it lists every changed file at any time


def sync(pristine: Path, folders: Sequence[str], changes: Mapping[str, bytes | None], place: Path) -> list[str]:
    """Make `place` contain some folders of a source, with changes.

    Args:
        pristine: the unpacked source, in the store; it is never written.
        folders: the folders of the source to use.
        changes: path -> content of the file, or None to remove it.
        place: the directory; files that an earlier call changed and this one does not are restored.

    Returns:
        The files that were written or removed.

    Raises:
        InfraError: the source cannot be copied.
    """
    state = place / _STATE
    place.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        if (place / folder).exists():
            continue
        new = place / f".{folder}.new"
        store.remove_tree(new)
        done = process.run(["cp", "-al", "--", str(pristine / folder), str(new)])
        if not done.ok:
            raise InfraError(f"copying the source failed: {(done.tail or ('',))[-1]}", "look at the disk")
        new.rename(place / folder)
    if not state.exists():
        store.write_json(state, [])
    before: list[str] = json.loads(state.read_text())
    store.write_json(state, sorted({*before, *changes}))
    touched: list[str] = []
    for path in sorted({*before, *changes}):
        if path in changes:
            content = changes[path]
        else:
            content = (pristine / path).read_bytes() if (pristine / path).is_file() else None
        executable = (pristine / path).is_file() and (pristine / path).stat().st_mode & 0o100
        if _replace(place / path, content, 0o755 if executable else 0o644):
            touched.append(path)
    store.write_json(state, sorted(changes))
    return touched


def _replace(path: Path, content: bytes | None, mode: int) -> bool:
    """Replace a file by renaming a new one over it, or remove it; return whether that was needed."""
    old = path.read_bytes() if path.is_file() else None
    if old == content:
        return False
    if content is None:
        path.unlink()
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)
    return True
