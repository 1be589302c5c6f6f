"""Import a series from outside: a file, a directory, an address or a Message-ID becomes `$KDF_HOME/series/NAME`.

What comes in is mails that nobody has checked; what goes out is a series like the shipped ones, each patch in its
normal form and pinned by hash. All is read and checked before anything is written, and nothing of it is executed.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from core import process, store
from core.errors import InfraError, UserError, nearest
from patches import attest, form, git, hostile, mbox, posting, series
from patches import mail as mails
from patches.attest import Attestation
from patches.mail import Mail
from patches.posting import Posting
from patches.series import Series
from sources import origins

B4_TIMEOUT = 300.0  # seconds
COVER = "cover.txt"
_MESSAGE_ID = re.compile(r"<?([A-Za-z0-9][^\s<>]*@[^\s<>]+)>?")
_HUNK = re.compile(r"^(@@ -\S+ \+\S+ @@).*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Patch:
    """One patch in its normal form.

    Attributes:
        name: its file name.
        text: of the file.
        identity: what it changes, without what a mailer or git's version may vary.
        attestation: what the signatures of its mail are worth.
    """

    name: str
    text: str
    identity: str
    attestation: tuple[Attestation, ...] = ()

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Incoming:
    """A posting that was read and checked, not written yet.

    Attributes:
        source: where it came from, in words.
        content: sha256 of all that its patches change.
    """

    posting: Posting
    source: str
    patches: tuple[Patch, ...]
    content: str


def read(
    source: str,
    *,
    revision: int | None = None,
    cover: str = "",
    content: str = "",
    sha256: str = "",
    log: Path | None = None,
) -> Incoming:
    """A posting from outside.

    Args:
        source: a file, a directory, an http address or a Message-ID.
        revision: N of [PATCH vN], where there are several.
        cover: Message-ID of the cover letter or of one of the patches, where there are several postings.
        content: refuse another content than this sha256.
        sha256: refuse another file than this at an address.
        log: where the output of b4 goes.

    Raises:
        UserError: it is malformed, hostile, incomplete, ambiguous, or not the pinned one.
        InfraError: the network does not give it.
    """
    for given, option in ((content, "--content"), (sha256, "--sha256")):
        if given and not _SHA256.fullmatch(given):
            raise UserError(f"{option} {given!r} is not a sha256", "give 64 hex digits in lower case")
    heap, shown, asked = _gather(source, sha256, log)
    chosen = posting.choose(heap, revision, cover or asked or "")
    with tempfile.TemporaryDirectory(prefix="kdf-import-") as scratch:
        patches = tuple(_patch(one, number, Path(scratch)) for number, one in enumerate(chosen.patches, 1))
    found = hashlib.sha256(
        "\0".join(patch.identity for patch in patches).encode("utf-8", "surrogateescape")
    ).hexdigest()
    if content and content != found:
        raise UserError(f"the series is not the pinned one: its content is {found}, pinned is {content}")
    return Incoming(chosen, shown, _attested(patches, chosen.patches, network=asked is not None), found)


def _attested(patches: Sequence[Patch], mails_: Sequence[Mail], *, network: bool) -> tuple[Patch, ...]:
    """The patches with what the signatures of their mails are worth; DNS that was silent once is not asked again."""
    found = []
    for patch, one in zip(patches, mails_, strict=True):
        attestation = attest.attestations(one.raw, network=network)
        network = network and not any(its.status.startswith(attest.NO_DNS) for its in attestation)
        found.append(replace(patch, attestation=attestation))
    return tuple(found)


def _gather(source: str, sha256: str, log: Path | None) -> tuple[list[Mail], str, str | None]:
    """The mails of a source, its name, and the Message-ID that was asked for; None if no network was needed."""
    if re.match(r"[a-z+]+://", source):
        return _from_address(source, sha256), origins.without_user(source), ""
    if sha256:
        raise UserError("--sha256 is the hash of what an address gives", "leave it away for files and Message-IDs")
    path = Path(source).expanduser()
    if path.exists():
        return mbox.load(path), path.name, None
    asked = _MESSAGE_ID.fullmatch(source)
    if asked is None:
        raise UserError(f"{source} is no file, no directory, no address and no Message-ID")
    return _from_lists(asked[1], log), f"Message-ID {asked[1]}", asked[1]


def _from_address(url: str, sha256: str) -> list[Mail]:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{origins.without_user(url)} is no http address")
    try:
        data = origins.fetch_bytes(url, mbox.MAX_BYTES)
    except origins.OriginFailed as error:
        raise InfraError(f"the series could not be fetched: {error}", "check the network, or --from a file") from None
    got = hashlib.sha256(data).hexdigest()
    if sha256 and got != sha256:
        raise InfraError(f"{origins.without_user(url)} gave sha256 {got}, pinned is {sha256}")
    if not sha256:
        print(f"{origins.without_user(url)}: sha256 {got}, not pinned: give --sha256 next time", file=sys.stderr)
    return mbox.split(data, "the answer")


def _from_lists(message_id: str, log: Path | None) -> list[Mail]:
    """The thread of a mail from the archive of the kernel's lists, by b4.

    Raises:
        UserError: the archive has no such mail.
        InfraError: the archive is out of reach.
    """
    with tempfile.TemporaryDirectory(prefix="kdf-b4-") as scratch:
        own = {f"XDG_{kind}_HOME": f"{scratch}/{kind}" for kind in ("CACHE", "DATA", "CONFIG")}
        argv = [sys.executable, "-m", "b4.command", "mbox", "-C", "-o", scratch, "-n", "thread", "--", message_id]
        done = process.run(argv, env=own, log=log, timeout=B4_TIMEOUT)
        found = [path for path in Path(scratch).glob("thread*") if path.is_file()]
        if not done.ok or not found:
            said = next((line for line in reversed(done.tail) if line.strip()), "it said nothing")
            if re.search(r"error: 404\b", said):
                raise UserError(f"the archive has no mail <{message_id}>", "look at the Message-ID", log)
            reason = re.search(r"Failed to resolve '([^']+)'", said)
            raise InfraError(
                f"b4 could not fetch <{message_id}>: {f'{reason[1]} does not resolve' if reason else said[:200]}",
                "check the network and the Message-ID, or save the thread as an mbox elsewhere and say --from FILE",
                log,
            )
        return mbox.load(found[0])


def _patch(one: Mail, number: int, scratch: Path) -> Patch:
    """A mail as a checked patch in its normal form; git must read the same files in it as we do.

    Raises:
        UserError: it is malformed or hostile.
    """
    its = posting.tag(one.subject)
    title, text = form.normal(one, its.title if its else "")
    where = f"{one.where} (<{one.message_id}>)" if one.message_id else one.where
    changes = hostile.check(text, where)
    patch = Patch(form.file_name(number, title), text, _identity(text, changes[0].at))
    if len(patch.data) > hostile.MAX_BYTES:
        raise UserError(f"{where} is too large for a patch: {len(patch.data)} bytes, at most {hostile.MAX_BYTES}")
    file = scratch / "patch"
    file.write_bytes(patch.data)
    git.agree(scratch, file, (change.path for change in changes), where)
    return patch


def _identity(text: str, at: int) -> str:
    """The diff without what depends on the sender's git: blob names, and the function behind a hunk's numbers."""
    lines = text.split("\n")[at - 1 :]
    return "\n".join(_HUNK.sub(r"\1", line) for line in lines if not line.startswith("index "))


def write(name: str, incoming: Incoming, generation: str | None = None, layout: str | None = None) -> Series:
    """Keep a series under a name; the same content again replaces what is said of it.

    Args:
        generation: of the callbacks that it takes.
        layout: of its records.

    Raises:
        UserError: the name or a word is not valid, or the name is taken by something else.
        InfraError: the disk is full.
    """
    shipped = check_name(name, incoming.posting.message_id)
    for word, known, what in ((generation, series.GENERATIONS, "generation"), (layout, series.LAYOUTS, "layout")):
        if word and word not in known:
            raise UserError(f"there is no {what} {word}{nearest(word, known)}")
    place = series.imported_place(name)
    generation = generation or (shipped.generation if shipped else None)
    layout = layout or (shipped.layout if shipped else None)
    text = yaml.safe_dump(
        {"series": {name: _entry(incoming, generation, layout)}}, sort_keys=False, allow_unicode=True, width=1000
    )
    cover = mails.body(incoming.posting.cover).strip("\n") + "\n" if incoming.posting.cover else ""
    with store.lock(f"series-{name}"), store.disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            if not (place / series.FILE.name).is_file():
                raise UserError(f"{place} is there and holds no series", "remove it, or take another name")
            before = series.load(name)
            if [patch.sha256 for patch in before.patches] != [patch.sha256 for patch in incoming.patches]:
                raise UserError(
                    f"there is a series {name} already, with other patches: {before.message_id or before.source}",
                    f"take another name, or remove {place}",
                )
            store.write_text(place / series.FILE.name, text)
            return series.load(name)
        beside = place.with_name(f".{name}.new")
        store.remove_tree(beside)
        beside.mkdir()
        for patch in incoming.patches:
            (beside / patch.name).write_bytes(patch.data)
        if cover:
            (beside / COVER).write_bytes(cover.encode("utf-8", "surrogateescape"))
        store.write_text(beside / series.FILE.name, text)
        beside.rename(place)
    return series.load(name)


def check_name(name: str, message_id: str | None = None) -> Series | None:
    """Whether a series may be imported under a name.

    Args:
        message_id: of what is to be imported; None if that is not known yet.

    Returns:
        The shipped entry that this import fills, or None.

    Raises:
        UserError: it may not.
    """
    if not series.NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a series", "take letters, digits, dots and dashes, at most 64")
    shipped = series.entry(name)
    if shipped is None:
        return None
    if not shipped.fetch:
        raise UserError(f"{name} is a series of this toolkit", "take another name")
    if message_id is not None and message_id != shipped.fetch:
        this = f"this is <{message_id}>" if message_id else "this has no Message-ID"
        raise UserError(f"{name} is the posting <{shipped.fetch}>, and {this}", "take another name")
    return shipped


def _entry(incoming: Incoming, generation: str | None, layout: str | None) -> Mapping[str, Any]:
    """What series.yaml says of an imported series."""
    chosen = incoming.posting
    return {
        "subject": chosen.title,
        "author": (chosen.cover or chosen.patches[0]).author,
        "source": incoming.source,
        "generation": generation,
        "layout": layout,
        "bases": [],
        "directory": ".",
        "sha256": {patch.name: patch.sha256 for patch in incoming.patches},
        "message_id": chosen.message_id,
        "revision": chosen.version,
        "content": incoming.content,
        "trailers": {_named(number, incoming.patches): list(lines) for number, lines in chosen.trailers.items()},
        "attestation": {patch.name: [str(one) for one in patch.attestation] for patch in incoming.patches},
    }


def _named(number: int, patches: Sequence[Patch]) -> str:
    return patches[number - 1].name if number else "all"


def rows(incoming: Incoming) -> list[dict[str, object]]:
    """The patches as rows of a table."""
    return [
        {
            "patch": patch.name,
            "from": mail.message_id or mail.where,
            "attestation": "; ".join(map(str, patch.attestation)) or "none",
            "trailers": len(incoming.posting.trailers.get(number, ())),
            "sha256": patch.sha256,
        }
        for number, (patch, mail) in enumerate(zip(incoming.patches, incoming.posting.patches, strict=True), 1)
    ]
