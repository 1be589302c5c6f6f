"""Find the mails of one posting of a series, and put them in order.

Takes mails in any order and gives a `Posting`. The subjects give the order. Replies are left out, but their trailers
are kept separately. Never guesses between two postings: the error lists their Message-IDs, and the user picks one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import UserError
from patches import form, mail
from patches.mail import Mail

MAX_PATCHES = 999
_BRACKETS = re.compile(r"\s*\[([^\[\]]*)\]")
_REPLY = re.compile(r"(re|aw|antw|sv|fwd?|wg)\s*(\[\d+\])?:", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,4})/(\d{1,4})")
_VERSION = re.compile(r"(?:PATCH|RFC)?v(\d{1,3})", re.IGNORECASE)
_TRAILER = re.compile(r"[A-Z][A-Za-z-]{1,30}-by: [^<>]{1,200} <[^<>\s]+@[^<>\s]+>")
_LEADING = re.compile(r"(?:v\d+-)?(\d{1,4})[-_.]")


@dataclass(frozen=True)
class Tag:
    """The tag in brackets before a subject.

    Attributes:
        version: 1 if there is none.
        number: k of k/n: 0 for a cover letter, None without k/n.
        total: n of k/n; 1 without k/n.
        title: the subject without brackets.
    """

    version: int
    number: int | None
    total: int
    title: str


@dataclass(frozen=True)
class Posting:
    """One revision of a series as it was sent.

    Attributes:
        patches: in order.
        trailers: number of the patch (0 for the whole series) -> trailers that replies gave.
        left_out: mails that are not part of it, with the reason.
    """

    title: str
    version: int
    cover: Mail | None
    patches: tuple[Mail, ...]
    trailers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def senders(self) -> list[str]:
        """Return the senders of the mails; usually there is only one."""
        return list(dict.fromkeys(message.author for message in (self.cover, *self.patches) if message))

    @property
    def message_id(self) -> str:
        """Return the Message-ID of its cover letter, or of its first patch if there is none."""
        return (self.cover or self.patches[0]).message_id


def tag(subject: str) -> Tag | None:
    """Return the tag of a patch or cover letter; None for a reply, a pull request or any other mail."""
    if _REPLY.match(subject):
        return None
    words: list[str] = []
    rest = subject
    while brackets := _BRACKETS.match(rest):
        words += re.split(r"[\s,;]+", brackets[1])
        rest = rest[brackets.end() :]
    upper = [word.upper() for word in words]
    numbers = [match for word in words if (match := _NUMBER.fullmatch(word))]
    is_patch = any("PATCH" in word for word in upper) or (bool(numbers) and ("RFC" in upper or "RFT" in upper))
    if not is_patch or "PULL" in upper:
        return None
    versions = [int(match[1]) for word in words if (match := _VERSION.fullmatch(word))]
    number, total = (int(numbers[0][1]), int(numbers[0][2])) if numbers else (None, 1)
    return Tag(versions[0] if versions else 1, number, total, rest.strip())


@dataclass
class _Group:
    """Mails that may belong to one posting."""

    version: int
    total: int
    members: list[tuple[Mail, Tag]] = field(default_factory=list)

    @property
    def first(self) -> Mail:
        return min(self.members, key=lambda member: member[1].number or 0)[0]

    @property
    def shown(self) -> str:
        first = self.first
        name = f"<{first.message_id}>" if first.message_id else first.where
        title = next((t.title for m, t in self.members if m is first), "")
        count = sum(t.number != 0 for _m, t in self.members)
        return f"{name} (v{self.version}, {count} of {self.total} patches, {title[:70]!r})"


def choose(mails: Sequence[Mail], revision: int | None = None, pick: str = "") -> Posting:
    """Return the posting that some mails contain.

    Args:
        revision: N of [PATCH vN]; any if None.
        pick: Message-ID of its cover letter or of one of its patches; any if empty.

    Raises:
        UserError: there is no posting, there are several, or patches are missing or doubled.
    """
    pick = pick.strip().removeprefix("<").removesuffix(">")
    unique = _unique(mails)
    tagged: list[tuple[Mail, Tag]] = []
    others: list[Mail] = []
    for message in unique:
        label = tag(message.subject)
        if label is None:
            others.append(message)
        else:
            tagged.append((message, label))
    if not tagged:
        bad = next((message.problem for message in unique if message.problem), "")
        raise UserError(
            f"no mail of {len(mails)} is a patch: no subject begins with [PATCH]{f'; {bad}' if bad else ''}"
        )
    groups = _groups(tagged)
    group = _picked(groups, revision, pick)
    left = [(message.where, message.problem or f"is not a patch: {message.subject[:70]!r}") for message in others]
    left += [(m.where, "is of another posting") for other in groups if other is not group for m, _tag in other.members]
    posting = _ordered(group, [message.problem for message in others if message.problem])
    return Posting(
        posting.title, posting.version, posting.cover, posting.patches, _trailers(posting, others), tuple(left)
    )


def _unique(mails: Sequence[Mail]) -> list[Mail]:
    """Return the mails without doubles, which come when two lists deliver the same mail.

    Raises:
        UserError: two different mails have one Message-ID.
    """
    seen: dict[str, Mail] = {}
    unique: list[Mail] = []
    for message in mails:
        before = seen.get(message.message_id) if message.message_id else None
        if before is None:
            seen[message.message_id] = message
            unique.append(message)
        elif not _same(before, message):
            raise UserError(
                f"two different mails have the Message-ID <{message.message_id}>: {before.where} and {message.where}"
            )
    return unique


def _same(message: Mail, other: Mail) -> bool:
    """Check whether two mails have the same content; lists add their own headers, and footers after the patch."""
    if message.subject != other.subject or message.author != other.author:
        return False
    label = tag(message.subject)
    if label is None or label.number == 0:
        return True
    return form.normal(message, label.title) == form.normal(other, label.title)


def _groups(tagged: Sequence[tuple[Mail, Tag]]) -> list[_Group]:
    """Group the mails that were sent together: same thread, same version, same total."""
    known = {message.message_id: (message, label) for message, label in tagged if message.message_id}
    answered = {p for message, label in tagged for p in message.parents if p in known and _kin(known[p][1], label)}
    anchors: dict[str, str] = {}
    groups: dict[tuple[str, int, int], _Group] = {}
    for message, label in tagged:
        key = (_anchor(message, label, known, answered, anchors), label.version, label.total)
        groups.setdefault(key, _Group(label.version, label.total)).members.append((message, label))
    _join_lone_covers(groups)
    return list(groups.values())


def _kin(label: Tag, other: Tag) -> bool:
    return (label.version, label.total) == (other.version, other.total)


def _anchor(
    message: Mail, label: Tag, known: Mapping[str, tuple[Mail, Tag]], answered: set[str], anchors: dict[str, str]
) -> str:
    """Return the Message-ID that identifies a thread: its cover letter or first patch, even if that mail is missing.

    Args:
        known: patches and cover letters by Message-ID.
        answered: Message-IDs that another mail of their posting answers.
        anchors: results so far; this function adds to them.
    """
    if not message.message_id:
        return ""  # files of git format-patch: files that were given together belong together
    visited: list[str] = []
    end, end_label = message, label
    while end.message_id not in anchors and end.message_id not in visited:
        visited.append(end.message_id)
        step = next((p for p in end.parents if p in known and _kin(known[p][1], label)), None)
        # A patch without a number that answers another patch is an alternative to it, not the next of a series.
        if end_label.number in (0, None) or step is None or known[step][1].number is None:
            break
        end, end_label = known[step]
    anchor = anchors.get(end.message_id) or _end_of_thread(end, end_label, known, answered)
    anchors.update(dict.fromkeys(visited, anchor))
    return anchor


def _end_of_thread(message: Mail, label: Tag, known: Mapping[str, tuple[Mail, Tag]], answered: set[str]) -> str:
    """Return the anchor of a mail that does not answer another mail of its posting."""
    if not label.number:
        return message.message_id
    if message.parents and message.parents[0] not in known:
        return message.parents[0]
    if not message.parents and label.total > 1 and message.message_id not in answered:
        return f"without a thread: {message.author}"
    return message.message_id


def _join_lone_covers(groups: dict[tuple[str, int, int], _Group]) -> None:
    """Add a cover letter without answers to the patches of its author that are outside any thread."""
    for key, group in list(groups.items()):
        (message, label), *more = group.members
        if more or label.number != 0:
            continue
        loose = groups.get((f"without a thread: {message.author}", key[1], key[2]))
        if loose is not None and all(t.number != 0 for _m, t in loose.members):
            loose.members.insert(0, (message, label))
            del groups[key]


def _picked(groups: Sequence[_Group], revision: int | None, pick: str) -> _Group:
    """Return the group that the user means.

    Raises:
        UserError: no group or several groups match.
    """
    left = list(groups)
    if pick:
        left = [group for group in left if any(message.message_id == pick for message, _tag in group.members)]
        if not left:
            raise UserError(f"no patch or cover letter has the Message-ID <{pick}>", _listed(groups))
    if revision is not None:
        of_it = [group for group in left if group.version == revision]
        if not of_it:
            present = ", ".join(str(v) for v in sorted({group.version for group in left}))
            raise UserError(f"there is no revision {revision}: there is {present}")
        left = of_it
    if len(left) == 1:
        return left[0]
    versions = sorted({group.version for group in left})
    if len(versions) == len(left):
        raise UserError(
            f"there are {len(left)} revisions, and you chose none: {_listed(left)}",
            f"use --revision {versions[-1]}, or --cover MESSAGE-ID",
        )
    raise UserError(
        f"there are {len(left)} postings that could be meant: {_listed(left)}",
        "use --cover MESSAGE-ID" if all(group.first.message_id for group in left) else "give the files of one of them",
    )


def _listed(groups: Sequence[_Group]) -> str:
    shown = [group.shown for group in groups]
    return "; ".join(shown[:8]) + (f"; and {len(shown) - 8} more" if len(shown) > 8 else "")


def _ordered(group: _Group, unread: Sequence[str]) -> Posting:
    """Return the mails of a group, ordered by their numbers.

    Args:
        unread: why other mails could not be read; one of them may be the missing patch.

    Raises:
        UserError: a patch is missing, is there twice, or has damaged headers.
    """
    for message, _tag in group.members:
        if message.problem:
            raise UserError(message.problem, mail.RESEND)
    if all(label.number is None for _message, label in group.members):
        numbered, total = _by_file(group.members), len(group.members)
    else:
        numbered = [(message, label.number if label.number is not None else 1) for message, label in group.members]
        total = group.total
    by_number: dict[int, list[Mail]] = {}
    for message, number in numbered:
        by_number.setdefault(number, []).append(message)
    for number, doubles in sorted(by_number.items()):
        if len(doubles) > 1:
            names = " and ".join(
                f"<{message.message_id}>" if message.message_id else message.where for message in doubles
            )
            raise UserError(f"patch {number}/{total} is there {len(doubles)} times: {names}")
        if number > total:
            raise UserError(f"{doubles[0].where}: patch {number}/{total} has a number above its own total")
    missing = [str(number) for number in range(1, total + 1) if number not in by_number]
    if missing:
        raise UserError(
            "; ".join([f"of {total} patches {len(missing)} are missing: {', '.join(missing[:30])}", *unread[:3]]),
            "give the whole series; a part of it is never applied",
        )
    if total > MAX_PATCHES:
        raise UserError(f"a series of {total} patches is too long: at most {MAX_PATCHES}")
    patches = tuple(by_number[number][0] for number in range(1, total + 1))
    cover = by_number[0][0] if 0 in by_number else None
    title = tag((cover or patches[0]).subject)
    return Posting(title.title if title else "", group.version, cover, patches)


def _by_file(members: Sequence[tuple[Mail, Tag]]) -> list[tuple[Mail, int]]:
    """Number patches that have no numbers: by their file names, or by their order in one file of git format-patch.

    Raises:
        UserError: the file names give no order.
    """
    if len({message.where.partition("#")[0] for message, _tag in members}) == 1:
        return [(message, number) for number, (message, _tag) in enumerate(members, 1)]
    heads = [_LEADING.match(message.where) for message, _tag in members]
    numbers = [int(head[1]) for head in heads if head]
    if len(numbers) < len(members) or len(set(numbers)) < len(numbers):
        raise UserError(f"{len(members)} patches without an order: neither subjects nor file names have numbers")
    order = sorted(range(len(members)), key=lambda index: numbers[index])
    return [(members[index][0], number) for number, index in enumerate(order, 1)]


def _trailers(posting: Posting, replies: Sequence[Mail]) -> dict[int, tuple[str, ...]]:
    """Return the trailers of the replies, by the number of the patch that they answer."""
    numbers = {message.message_id: number for number, message in enumerate(posting.patches, 1) if message.message_id}
    if posting.cover is not None:
        numbers[posting.cover.message_id] = 0
    by_patch: dict[int, list[str]] = {}
    for reply in replies:
        number = next((numbers[parent] for parent in reply.parents if parent in numbers), None)
        if number is None or reply.problem:
            continue
        try:
            text = mail.body(reply)
        except UserError:
            continue  # a reply that cannot be read gives no trailer; it is listed in left_out
        lines = [line.strip() for line in text.split("\n") if _TRAILER.fullmatch(line.strip())]
        trailers = by_patch.setdefault(number, [])
        trailers += [line for line in lines if line not in trailers]
    return {number: tuple(trailers) for number, trailers in sorted(by_patch.items()) if trailers}
