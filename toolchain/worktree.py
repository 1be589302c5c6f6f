"""The source that a compiler is built from: an unpacked archive with our changes, in a directory that is kept.

Ninja goes by the time of a file. So a file is only written here if its bytes differ from what is there, and everything
else is a hard link to the archive's file: after a change of the pass, one file is new. Never write into a file that is
there: its bytes may be the store's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from core import process, store
from core.errors import InfraError

_STATE = ".changed.json"  # written before the first change: at no moment is a file changed that it does not list


def sync(pristine: Path, folders: Sequence[str], changes: Mapping[str, bytes | None], place: Path) -> list[str]:
    """Make `place` hold some folders of a source with changes on them.

    Args:
        pristine: the unpacked source, in the store; it is not written to.
        folders: of the source, those that are wanted.
        changes: path -> the bytes that the file has, or None if it is not to be there.
        place: the directory; what an earlier call changed and this one does not is as in the source again.

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
            wanted = changes[path]
        else:
            wanted = (pristine / path).read_bytes() if (pristine / path).is_file() else None
        executable = (pristine / path).is_file() and (pristine / path).stat().st_mode & 0o100
        if _replace(place / path, wanted, 0o755 if executable else 0o644):
            touched.append(path)
    store.write_json(state, sorted(changes))
    return touched


def _replace(path: Path, wanted: bytes | None, mode: int) -> bool:
    """Give a file its bytes by renaming another into its place; says whether that was needed."""
    there = path.read_bytes() if path.is_file() else None
    if there == wanted:
        return False
    if wanted is None:
        path.unlink()
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(wanted)
    new.chmod(mode)
    new.replace(path)
    return True
