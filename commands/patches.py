"""invoke patches.*: series and trees."""

from __future__ import annotations

from typing import Any

from commands.tables import print_json, print_table
from commands.task import command


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
    """Say patch by patch whether a series applies. Example: ./invoke patches.check kit --linux 7.2.8"""
    from patches import apply
    from patches import series as names
    from sources import catalogue

    wanted = names.load(series)
    linux = linux or catalogue.default_linux()
    reports = apply.check(catalogue.source_tree(linux), wanted)
    if json:
        print_json([r.as_json() for r in reports])
    else:
        print_table([r.as_row() for r in reports], ("patch", "status", "files", "hunks", "reason"))
    apply.require(reports, f"Linux {linux}")


@command(name="apply")
def apply_(_c: Any, series: str = "kit", linux: str = "") -> None:
    """Make the patched tree in the store and print its path. Example: ./invoke patches.apply --series kit"""
    from patches import apply
    from patches import series as names
    from sources import catalogue

    wanted = names.load(series)
    print(apply.tree(catalogue.source_tree(linux or catalogue.default_linux()), wanted).path / "linux")


@command(
    name="import",
    positional=["name"],
    help={
        "name": "what to call it here; rfc-v1 and rfc-v2 are kept for those postings",
        "from_": "FILE.mbox, a directory of mails or patches, a Message-ID, or an http address",
        "revision": "N of [PATCH vN], where there are several",
        "cover": "Message-ID of the cover letter or of a patch, where several postings could be meant",
        "content": "refuse the series unless its patches change exactly this (sha256, printed by an earlier import)",
        "sha256": "refuse what an address gives unless it has this hash",
        "generation": "callbacks that the series takes: L0, L1, L2, L3, G1; unknown if not said",
        "layout": "layout of its records: K1 to K5; unknown if not said",
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
    from core.errors import UserError, printable
    from patches import incoming, series

    if not from_:
        raise UserError("there is nothing to import", "say --from FILE, DIRECTORY, MESSAGE-ID or ADDRESS")
    if revision and not revision.isdecimal():
        raise UserError(f"--revision {revision!r} is no number", "say --revision 2")
    incoming.check_name(name)
    found = incoming.read(
        from_,
        revision=int(revision) if revision else None,
        cover=cover,
        content=content,
        sha256=sha256,
        log=store.home() / "logs" / f"import-{name}.log",
    )
    kept = incoming.write(name, found, generation or None, layout or None)
    rows, left = incoming.rows(found), found.posting.left_out
    if json:
        facts = {"left_out": left, "trailers": found.posting.trailers, "revision": found.posting.version}
        print_json({**facts, "name": name, "content": kept.content, "message_id": kept.message_id, "patches": rows})
        return
    print(printable(f"{name}: {kept.subject} (v{found.posting.version}, {kept.author}), {len(kept.patches)} patches"))
    print_table(rows, ("patch", "from", "attestation", "trailers"))
    told = [f"left out: {where} {reason}" for where, reason in left]
    if len(found.posting.senders) > 1:
        told.append(f"sent by several: {', '.join(found.posting.senders)}")
    told.append(f"Message-ID: {kept.message_id or 'none'}\ncontent: {kept.content}")
    told.append(f"generation: {kept.generation or 'not given'}, layout: {kept.layout or 'not given'}")
    print(printable("\n".join(told)))
    print(f"in {series.imported_place(name)}; next: ./invoke patches.check {name}")


@command(
    short={"output": "o"},
    positional=["series"],
    help={
        "output": "a new directory for the patches, as git am takes them",
        "mbox": "a file for all of them, subjects numbered",
    },
)
def export(_c: Any, series: str, output: str = "", mbox: str = "") -> None:
    """Write a series for git am. Example: ./invoke patches.export kit -o DIR"""
    from pathlib import Path

    from core.errors import UserError
    from patches import outgoing
    from patches import series as names

    if not output and not mbox:
        raise UserError("there is nowhere to write to", "say -o DIR or --mbox FILE")
    wanted = names.load(series)
    if output:
        for path in outgoing.export(wanted, Path(output).expanduser()):
            print(path)
    if mbox:
        outgoing.export_mbox(wanted, Path(mbox).expanduser())
        print(mbox)


@command(
    help={
        "from_": "a git repository with the series on Linux; it is only read",
        "range_": "A..B: the commits behind A up to B",
    },
)
def refresh(_c: Any, from_: str = "", range_: str = "") -> None:
    """Write series kit from a branch. Example: ./invoke patches.refresh --from ~/linux --range v7.1.8..kdf"""
    from pathlib import Path

    from core.errors import UserError
    from patches import outgoing

    if not from_ or not range_:
        raise UserError("there is no branch to take the series from", "say --from REPOSITORY --range A..B")
    changed = outgoing.refresh(outgoing.from_branch(Path(from_).expanduser(), range_))
    print("\n".join(changed) if changed else "nothing changed")
