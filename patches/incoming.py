"""Import a series from outside into `$KDF_HOME/series/NAME`.

Takes a file, a directory, an address or a Message-ID. Gives a series like the shipped ones: each patch in its normal
form, pinned by hash. Never writes before everything is checked, and never executes anything of a patch.
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

from core import outside, process, store
from core.errors import InfraError, UserError, nearest
from patches import attest, form, git, hostile, mail, mbox, posting, series
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
        identity: its changes, without the parts that depend on a mailer or on the version of git.
        attestation: the signatures of its mail, checked.
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
    """A posting that was read and checked, but not written yet.

    Attributes:
        source: where it came from, as text.
        content: sha256 of all changes of its patches.
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
    """Read and check a posting from outside.

    Args:
        source: a file, a directory, an http address or a Message-ID.
        revision: N of [PATCH vN], if there are several.
        cover: Message-ID of the cover letter or of one of the patches, if there are several postings.
        content: expected sha256 of the changes; another content is refused.
        sha256: expected sha256 of the file at an address; another file is refused.
        log: file for the output of b4.

    Raises:
        UserError: it is malformed, hostile, incomplete, ambiguous, or not the pinned one.
        InfraError: it cannot be fetched.
    """
    for value, option in ((content, "--content"), (sha256, "--sha256")):
        if value and not _SHA256.fullmatch(value):
            raise UserError(f"{option} {value!r} is not a sha256", "give 64 hex digits in lower case")
    mails, shown, message_id = _gather(source, sha256, log)
    chosen = posting.choose(mails, revision, cover or message_id or "")
    with tempfile.TemporaryDirectory(prefix="kdf-import-") as scratch:
        patches = tuple(_patch(message, number, Path(scratch)) for number, message in enumerate(chosen.patches, 1))
    actual = hashlib.sha256(
        "\0".join(patch.identity for patch in patches).encode("utf-8", "surrogateescape")
    ).hexdigest()
    if content and content != actual:
        raise UserError(f"the series is not the pinned one: its content is {actual}, pinned is {content}")
    return Incoming(chosen, shown, _attested(patches, chosen.patches, network=message_id is not None), actual)


def _attested(patches: Sequence[Patch], mails: Sequence[Mail], *, network: bool) -> tuple[Patch, ...]:
    """Check the signatures of the mails; if DNS does not answer once, do not ask it again."""
    attested = []
    for patch, message in zip(patches, mails, strict=True):
        attestation = attest.attestations(message.raw, network=network)
        network = network and not any(signature.status.startswith(attest.NO_DNS) for signature in attestation)
        attested.append(replace(patch, attestation=attestation))
    return tuple(attested)


def _gather(source: str, sha256: str, log: Path | None) -> tuple[list[Mail], str, str | None]:
    """Return the mails of a source, its name, and the requested Message-ID: empty for an address, None for a file."""
    if re.match(r"[a-z+]+://", source):
        return _from_address(source, sha256), origins.without_user(source), ""
    if sha256:
        raise UserError("--sha256 is the hash of what an address gives", "leave it out for files and Message-IDs")
    path = outside.path(source)
    if path.exists():
        return mbox.load(path), path.name, None
    match = _MESSAGE_ID.fullmatch(source)
    if match is None:
        raise UserError(f"{source} is not a file, a directory, an address or a Message-ID")
    return _from_lists(match[1], log), f"Message-ID {match[1]}", match[1]


def _from_address(url: str, sha256: str) -> list[Mail]:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{origins.without_user(url)} is not an http address")
    try:
        data = origins.fetch_bytes(url, mbox.MAX_BYTES)
    except origins.OriginFailed as error:
        raise InfraError(f"the series could not be fetched: {error}", "check the network, or use --from FILE") from None
    actual = hashlib.sha256(data).hexdigest()
    if sha256 and actual != sha256:
        raise InfraError(f"{origins.without_user(url)} gave sha256 {actual}, pinned is {sha256}")
    if not sha256:
        print(f"{origins.without_user(url)}: sha256 {actual}, not pinned: give --sha256 next time", file=sys.stderr)
    return mbox.split(data, "the answer")


def _from_lists(message_id: str, log: Path | None) -> list[Mail]:
    """Fetch the thread of a mail from the archive of the kernel's lists with b4.

    Raises:
        UserError: the archive has no such mail.
        InfraError: the archive cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="kdf-b4-") as scratch:
        own = {f"XDG_{kind}_HOME": f"{scratch}/{kind}" for kind in ("CACHE", "DATA", "CONFIG")}
        argv = [sys.executable, "-m", "b4.command", "mbox", "-C", "-o", scratch, "-n", "thread", "--", message_id]
        done = process.run(argv, env=own, log=log, timeout=B4_TIMEOUT)
        files = [path for path in Path(scratch).glob("thread*") if path.is_file()]
        if not done.ok or not files:
            line = next((line for line in reversed(done.tail) if line.strip()), "it printed nothing")
            if re.search(r"error: 404\b", line):
                raise UserError(f"the archive has no mail <{message_id}>", "check the Message-ID", log)
            reason = re.search(r"Failed to resolve '([^']+)'", line)
            raise InfraError(
                f"b4 could not fetch <{message_id}>: {f'{reason[1]} does not resolve' if reason else line[:200]}",
                "check the network and the Message-ID, or save the thread as an mbox elsewhere and use --from FILE",
                log,
            )
        return mbox.load(files[0])


def _patch(message: Mail, number: int, scratch: Path) -> Patch:
    """Turn a mail into a checked patch in its normal form; git must find the same files in it as we do.

    Raises:
        UserError: it is malformed or hostile.
    """
    tag = posting.tag(message.subject)
    title, text = form.normal(message, tag.title if tag else "")
    where = f"{message.where} (<{message.message_id}>)" if message.message_id else message.where
    changes = hostile.check(text, where)
    patch = Patch(form.file_name(number, title), text, _identity(text, changes[0].at))
    if len(patch.data) > hostile.MAX_BYTES:
        raise UserError(f"{where} is too large for a patch: {len(patch.data)} bytes, at most {hostile.MAX_BYTES}")
    file = scratch / "patch"
    file.write_bytes(patch.data)
    git.agree(scratch, file, (change.path for change in changes), where)
    return patch


def _identity(text: str, at: int) -> str:
    """Return the diff without what depends on the sender's git: blob names, and the function after a hunk's numbers."""
    lines = text.split("\n")[at - 1 :]
    return "\n".join(_HUNK.sub(r"\1", line) for line in lines if not line.startswith("index "))


def write(name: str, incoming: Incoming, generation: str | None = None, layout: str | None = None) -> Series:
    """Store a series under a name; the same content again replaces only its description.

    Args:
        generation: of the callbacks that it takes.
        layout: of its records.

    Raises:
        UserError: the name or a value is not valid, or the name is taken by something else.
        InfraError: the disk is full.
    """
    shipped = check_name(name, incoming.posting.message_id)
    for value, known, what in ((generation, series.GENERATIONS, "generation"), (layout, series.LAYOUTS, "layout")):
        if value and value not in known:
            raise UserError(f"there is no {what} {value}{nearest(value, known)}")
    folder = series.imported_place(name)
    generation = generation or (shipped.generation if shipped else None)
    layout = layout or (shipped.layout if shipped else None)
    text = yaml.safe_dump(
        {"series": {name: _entry(incoming, generation, layout)}}, sort_keys=False, allow_unicode=True, width=1000
    )
    cover = mail.body(incoming.posting.cover).strip("\n") + "\n" if incoming.posting.cover else ""
    with store.lock(f"series-{name}"), store.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            if not (folder / series.FILE.name).is_file():
                raise UserError(f"{folder} exists and contains no series", "remove it, or take another name")
            before = series.load(name)
            if [patch.sha256 for patch in before.patches] != [patch.sha256 for patch in incoming.patches]:
                raise UserError(
                    f"there is a series {name} already, with other patches: {before.message_id or before.source}",
                    f"take another name, or remove {folder}",
                )
            store.write_text(folder / series.FILE.name, text)
            return series.load(name)
        new = folder.with_name(f".{name}.new")
        store.remove_tree(new)
        new.mkdir()
        for patch in incoming.patches:
            (new / patch.name).write_bytes(patch.data)
        if cover:
            (new / COVER).write_bytes(cover.encode("utf-8", "surrogateescape"))
        store.write_text(new / series.FILE.name, text)
        new.rename(folder)
    return series.load(name)


def check_name(name: str, message_id: str | None = None) -> Series | None:
    """Check whether a series may be imported under a name.

    Args:
        message_id: of what is to be imported; None if that is not known yet.

    Returns:
        The shipped entry that this import fills, or None.

    Raises:
        UserError: the name is not valid, or is taken.
    """
    if not series.NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a name for a series", "take letters, digits, dots and dashes, at most 64")
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
    """Return the entry of series.yaml for an imported series."""
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
        "attestation": {patch.name: [str(signature) for signature in patch.attestation] for patch in incoming.patches},
    }


def _named(number: int, patches: Sequence[Patch]) -> str:
    return patches[number - 1].name if number else "all"


def rows(incoming: Incoming) -> list[dict[str, object]]:
    """Return the patches as rows of a table."""
    return [
        {
            "patch": patch.name,
            "from": message.message_id or message.where,
            "attestation": "; ".join(map(str, patch.attestation)) or "none",
            "trailers": len(incoming.posting.trailers.get(number, ())),
            "sha256": patch.sha256,
        }
        for number, (patch, message) in enumerate(zip(incoming.patches, incoming.posting.patches, strict=True), 1)
    ]
