"""Tasks patches.*: check, apply, import and export series."""

from __future__ import annotations

from typing import Any

from commands.tables import print_json, print_table
from commands.task import command
from core import outside


@command(name="list")
def list_(_c: Any, json: bool = False) -> None:
    """List the series. Example: ./invoke patches.list"""
    from patches import series

    rows = [
        {
            "name": s.name,
            "from": s.here,
            "patches": len(s.patches),
            "generation": s.generation or "-",
            "layout": s.layout or "-",
            "subject": s.subject,
        }
        for s in series.load_all().values()
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("name", "from", "patches", "generation", "layout", "subject"))


@command(
    positional=["series"],
)
def check(_c: Any, series: str, linux: str = "", json: bool = False) -> None:
    """Check patch by patch whether a series applies. Example: ./invoke patches.check kit --linux 7.2.8"""
    from patches import apply
    from patches.series import load
    from sources import catalogue

    patches = load(series)
    linux = linux or catalogue.default_linux()
    reports = apply.check(catalogue.source_tree(linux), patches)
    if json:
        print_json([r.as_json() for r in reports])
    else:
        print_table([r.as_row() for r in reports], ("patch", "status", "files", "hunks", "reason"))
    apply.require(reports, f"Linux {linux}")


@command(name="apply")
def apply_(_c: Any, series: str = "kit", linux: str = "") -> None:
    """Make the patched tree in the store and print its path. Example: ./invoke patches.apply --series kit"""
    from patches import apply
    from patches.series import load
    from sources import catalogue

    patches = load(series)
    print(apply.tree(catalogue.source_tree(linux or catalogue.default_linux()), patches).path / "linux")


@command(
    name="import",
    positional=["name"],
    help={
        "name": "name of the series here; rfc-v1 and rfc-v2 are reserved for those postings",
        "from_": "FILE.mbox, directory of mails or patches, Message-ID, or http address",
        "revision": "N of [PATCH vN], if there are several versions",
        "cover": "Message-ID of the cover letter or of a patch, if several postings match",
        "content": "sha256 of all changes, as an earlier import printed it; refuse other changes",
        "sha256": "sha256 of the file at an http address; refuse another file",
        "generation": "callback generation of the series: L0, L1, L2, L3 or G1; unknown if it is not given",
        "layout": "layout of its records: K1 to K5; unknown if it is not given",
    },
)
def import_(
    _c: Any,
    name: str,
    from_: str = "",
    revision: str = "",
    cover: str = "",
    content: str = "",
    sha256: str = "",
    generation: str = "",
    layout: str = "",
    json: bool = False,
) -> None:
    """Check a series from outside and keep it. Example: ./invoke patches.import theirs --from thread.mbox"""
    from core import store
    from core.errors import UserError, one_line
    from patches import incoming, series

    if not from_:
        raise UserError("there is nothing to import", "use --from FILE, DIRECTORY, MESSAGE-ID or ADDRESS")
    if revision and not revision.isdecimal():
        raise UserError(f"--revision {revision!r} is not a number", "use --revision 2")
    incoming.check_name(name)
    posting = incoming.read(
        from_,
        revision=int(revision) if revision else None,
        cover=cover,
        content=content,
        sha256=sha256,
        log=store.home() / "logs" / f"import-{name}.log",
    )
    kept = incoming.write(name, posting, generation or None, layout or None)
    rows, left = incoming.rows(posting), posting.posting.left_out
    if json:
        facts = {"left_out": left, "trailers": posting.posting.trailers, "revision": posting.posting.version}
        print_json({**facts, "name": name, "content": kept.content, "message_id": kept.message_id, "patches": rows})
        return
    print(one_line(f"{name}: {kept.subject} (v{posting.posting.version}, {kept.author}), {len(kept.patches)} patches"))
    print_table(rows, ("patch", "from", "attestation", "trailers"))
    lines = [f"left out: {where} {reason}" for where, reason in left]
    if len(posting.posting.senders) > 1:
        lines.append(f"sent by several: {', '.join(posting.posting.senders)}")
    lines.append(f"Message-ID: {kept.message_id or 'none'}\ncontent: {kept.content}")
    lines.append(f"generation: {kept.generation or 'not given'}, layout: {kept.layout or 'not given'}")
    print("\n".join(map(one_line, lines)))
    print(f"in {series.imported_place(name)}; next: ./invoke patches.check {name}")


@command(
    short={"output": "o"},
    positional=["series"],
    help={
        "output": "new directory for the patch files, as git am reads them",
        "mbox": "one file for all patches, with numbered subjects",
    },
)
def export(_c: Any, series: str, output: str = "", mbox: str = "") -> None:
    """Write a series as files for git am. Example: ./invoke patches.export kit -o DIR"""

    from core.errors import UserError
    from patches import outgoing
    from patches.series import load

    if not output and not mbox:
        raise UserError("no output is named", "use -o DIR or --mbox FILE")
    patches = load(series)
    if output:
        for path in outgoing.export(patches, outside.path(output)):
            print(path)
    if mbox:
        outgoing.export_mbox(patches, outside.path(mbox))
        print(mbox)


@command(
    help={
        "from_": "git repository with the series on top of Linux; it is only read",
        "range_": "A..B: the commits after A, up to B",
    },
)
def refresh(_c: Any, from_: str = "", range_: str = "") -> None:
    """Write series kit from a branch. Example: ./invoke patches.refresh --from ~/linux --range v7.1.8..kdf"""

    from core.errors import UserError
    from patches import outgoing

    if not from_ or not range_:
        raise UserError("there is no branch to take the series from", "use --from REPOSITORY --range A..B")
    changed = outgoing.refresh(outgoing.from_branch(outside.path(from_), range_))
    print("\n".join(changed) if changed else "nothing changed")
