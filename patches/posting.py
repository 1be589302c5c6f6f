"""Which mails are one posting of a series, in which order: in comes a heap of mails, out goes a `Posting`.

The order comes from the subjects, never from the order of arrival. Replies are left out, the trailers in them are kept
apart. Where two postings could be meant, nothing is chosen: the Message-IDs are named, and the user picks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import UserError
from patches import form
from patches import mail as mails
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
    """What stands in the brackets before a subject.

    Attributes:
        version: 1 if none is said.
        number: 0 for a cover letter; None without k/n.
        total: n of k/n; 1 without.
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
        """Who sent the mails: one address, as a rule."""
        return list(dict.fromkeys(one.author for one in (self.cover, *self.patches) if one))

    @property
    def message_id(self) -> str:
        """By which it is known: that of its cover letter, else of its first patch."""
        return (self.cover or self.patches[0]).message_id


def tag(subject: str) -> Tag | None:
    """The tag of a patch or cover letter; None for a reply, a pull request or any other mail."""
    if _REPLY.match(subject):
        return None
    words: list[str] = []
    rest = subject
    while found := _BRACKETS.match(rest):
        words += re.split(r"[\s,;]+", found[1])
        rest = rest[found.end() :]
    upper = [word.upper() for word in words]
    numbers = [found for word in words if (found := _NUMBER.fullmatch(word))]
    is_patch = any("PATCH" in word for word in upper) or (bool(numbers) and ("RFC" in upper or "RFT" in upper))
    if not is_patch or "PULL" in upper:
        return None
    versions = [int(found[1]) for word in words if (found := _VERSION.fullmatch(word))]
    number, total = (int(numbers[0][1]), int(numbers[0][2])) if numbers else (None, 1)
    return Tag(versions[0] if versions else 1, number, total, rest.strip())


@dataclass
class _Group:
    """Mails that may be one posting."""

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


def choose(heap: Sequence[Mail], revision: int | None = None, pick: str = "") -> Posting:
    """The posting that some mails hold.

    Args:
        revision: N of [PATCH vN]; any if None.
        pick: Message-ID of its cover letter or of one of its patches; any if empty.

    Raises:
        UserError: there is none, there are several, or patches are missing or there twice.
    """
    pick = pick.strip().removeprefix("<").removesuffix(">")
    unique = _unique(heap)
    tagged: list[tuple[Mail, Tag]] = []
    others: list[Mail] = []
    for one in unique:
        its = tag(one.subject)
        if its is None:
            others.append(one)
        else:
            tagged.append((one, its))
    if not tagged:
        bad = next((one.problem for one in unique if one.problem), "")
        raise UserError(f"no mail of {len(heap)} is a patch: no subject begins with [PATCH]{f'; {bad}' if bad else ''}")
    groups = _groups(tagged)
    group = _picked(groups, revision, pick)
    left = [(one.where, one.problem or f"is no patch: {one.subject[:70]!r}") for one in others]
    left += [(m.where, "is of another posting") for other in groups if other is not group for m, _tag in other.members]
    posting = _ordered(group, [one.problem for one in others if one.problem])
    return Posting(
        posting.title, posting.version, posting.cover, posting.patches, _trailers(posting, others), tuple(left)
    )


def _unique(heap: Sequence[Mail]) -> list[Mail]:
    """The mails without those that are there twice, as two lists deliver them.

    Raises:
        UserError: two different mails have one Message-ID.
    """
    seen: dict[str, Mail] = {}
    found: list[Mail] = []
    for one in heap:
        before = seen.get(one.message_id) if one.message_id else None
        if before is None:
            seen[one.message_id] = one
            found.append(one)
        elif not _same(before, one):
            raise UserError(
                f"two different mails have the Message-ID <{one.message_id}>: {before.where} and {one.where}"
            )
    return found


def _same(one: Mail, other: Mail) -> bool:
    """Whether two mails say the same; lists add headers of their own, and footers behind the patch."""
    if one.subject != other.subject or one.author != other.author:
        return False
    its = tag(one.subject)
    if its is None or its.number == 0:
        return True
    return form.normal(one, its.title) == form.normal(other, its.title)


def _groups(tagged: Sequence[tuple[Mail, Tag]]) -> list[_Group]:
    """Put together what was sent together: one thread, one version, one total."""
    known = {one.message_id: (one, its) for one, its in tagged if one.message_id}
    answered = {p for one, its in tagged for p in one.parents if p in known and _kin(known[p][1], its)}
    anchors: dict[str, str] = {}
    found: dict[tuple[str, int, int], _Group] = {}
    for one, its in tagged:
        key = (_anchor(one, its, known, answered, anchors), its.version, its.total)
        found.setdefault(key, _Group(its.version, its.total)).members.append((one, its))
    _join_lone_covers(found)
    return list(found.values())


def _kin(one: Tag, other: Tag) -> bool:
    return (one.version, one.total) == (other.version, other.total)


def _anchor(
    one: Mail, its: Tag, known: Mapping[str, tuple[Mail, Tag]], answered: set[str], anchors: dict[str, str]
) -> str:
    """By what the mails of one thread are known: its cover letter or first patch, also if that one is not here.

    Args:
        known: patches and cover letters by Message-ID.
        answered: those that another mail of their posting answers.
        anchors: what was found before.
    """
    if not one.message_id:
        return ""  # files of git format-patch: what was given together was made together
    way: list[str] = []
    end, tag_ = one, its
    while end.message_id not in anchors and end.message_id not in way:
        way.append(end.message_id)
        step = next((p for p in end.parents if p in known and _kin(known[p][1], its)), None)
        # A patch without a number that answers another one is an alternative to it, not the next of a series.
        if tag_.number in (0, None) or step is None or known[step][1].number is None:
            break
        end, tag_ = known[step]
    anchor = anchors.get(end.message_id) or _end_of_thread(end, tag_, known, answered)
    anchors.update(dict.fromkeys(way, anchor))
    return anchor


def _end_of_thread(one: Mail, its: Tag, known: Mapping[str, tuple[Mail, Tag]], answered: set[str]) -> str:
    """The anchor of a mail that answers none of its own posting."""
    if not its.number:
        return one.message_id
    if one.parents and one.parents[0] not in known:
        return one.parents[0]
    if not one.parents and its.total > 1 and one.message_id not in answered:
        return f"without a thread: {one.author}"
    return one.message_id


def _join_lone_covers(groups: dict[tuple[str, int, int], _Group]) -> None:
    """A cover letter that nobody answers belongs to the patches of its author that answer nobody."""
    for key, group in list(groups.items()):
        (one, its), *more = group.members
        if more or its.number != 0:
            continue
        loose = groups.get((f"without a thread: {one.author}", key[1], key[2]))
        if loose is not None and all(t.number != 0 for _m, t in loose.members):
            loose.members.insert(0, (one, its))
            del groups[key]


def _picked(groups: Sequence[_Group], revision: int | None, pick: str) -> _Group:
    """The one group that is meant.

    Raises:
        UserError: none or several are.
    """
    left = list(groups)
    if pick:
        left = [group for group in left if any(one.message_id == pick for one, _tag in group.members)]
        if not left:
            raise UserError(f"no patch or cover letter has the Message-ID <{pick}>", _listed(groups))
    if revision is not None:
        of_it = [group for group in left if group.version == revision]
        if not of_it:
            there = ", ".join(str(v) for v in sorted({group.version for group in left}))
            raise UserError(f"there is no revision {revision}: there is {there}")
        left = of_it
    if len(left) == 1:
        return left[0]
    versions = sorted({group.version for group in left})
    if len(versions) == len(left):
        raise UserError(
            f"there are {len(left)} revisions, and none was chosen: {_listed(left)}",
            f"say --revision {versions[-1]}, or --cover MESSAGE-ID",
        )
    raise UserError(
        f"there are {len(left)} postings that could be meant: {_listed(left)}",
        "say --cover MESSAGE-ID" if all(group.first.message_id for group in left) else "give the files of one of them",
    )


def _listed(groups: Sequence[_Group]) -> str:
    shown = [group.shown for group in groups]
    return "; ".join(shown[:8]) + (f"; and {len(shown) - 8} more" if len(shown) > 8 else "")


def _ordered(group: _Group, unread: Sequence[str]) -> Posting:
    """The mails of a group by their numbers.

    Args:
        unread: why other mails could not be read: one of them may be the missing patch.

    Raises:
        UserError: one is missing, there twice, or cannot be trusted.
    """
    for one, _tag in group.members:
        if one.problem:
            raise UserError(one.problem, mails.RESEND)
    if all(its.number is None for _one, its in group.members):
        numbered, total = _by_place(group.members), len(group.members)
    else:
        numbered = [(one, its.number if its.number is not None else 1) for one, its in group.members]
        total = group.total
    places: dict[int, list[Mail]] = {}
    for one, number in numbered:
        places.setdefault(number, []).append(one)
    for number, there in sorted(places.items()):
        if len(there) > 1:
            names = " and ".join(f"<{one.message_id}>" if one.message_id else one.where for one in there)
            raise UserError(f"patch {number}/{total} is there {len(there)} times: {names}")
        if number > total:
            raise UserError(f"{there[0].where}: patch {number}/{total} counts beyond its own total")
    missing = [str(number) for number in range(1, total + 1) if number not in places]
    if missing:
        raise UserError(
            "; ".join([f"of {total} patches {len(missing)} are missing: {', '.join(missing[:30])}", *unread[:3]]),
            "give the whole series; nothing is applied in part",
        )
    if total > MAX_PATCHES:
        raise UserError(f"a series of {total} patches is too long: at most {MAX_PATCHES}")
    patches = tuple(places[number][0] for number in range(1, total + 1))
    cover = places[0][0] if 0 in places else None
    title = tag((cover or patches[0]).subject)
    return Posting(title.title if title else "", group.version, cover, patches)


def _by_place(members: Sequence[tuple[Mail, Tag]]) -> list[tuple[Mail, int]]:
    """Numbers for patches that have none: from their file names, or as git format-patch wrote them into one file.

    Raises:
        UserError: the names say nothing of an order.
    """
    if len({one.where.partition("#")[0] for one, _tag in members}) == 1:
        return [(one, number) for number, (one, _tag) in enumerate(members, 1)]
    heads = [_LEADING.match(one.where) for one, _tag in members]
    numbers = [int(head[1]) for head in heads if head]
    if len(numbers) < len(members) or len(set(numbers)) < len(numbers):
        raise UserError(f"{len(members)} patches without an order: neither subjects nor file names have numbers")
    order = sorted(range(len(members)), key=lambda index: numbers[index])
    return [(members[index][0], place) for place, index in enumerate(order, 1)]


def _trailers(posting: Posting, replies: Sequence[Mail]) -> dict[int, tuple[str, ...]]:
    """The trailers that replies to a posting give, by the patch that they answer."""
    numbers = {one.message_id: number for number, one in enumerate(posting.patches, 1) if one.message_id}
    if posting.cover is not None:
        numbers[posting.cover.message_id] = 0
    found: dict[int, list[str]] = {}
    for reply in replies:
        number = next((numbers[parent] for parent in reply.parents if parent in numbers), None)
        if number is None or reply.problem:
            continue
        try:
            text = mails.body(reply)
        except UserError:
            continue  # a reply that cannot be read gives no trailer; it stands among what was left out
        given = [line.strip() for line in text.split("\n") if _TRAILER.fullmatch(line.strip())]
        there = found.setdefault(number, [])
        there += [line for line in given if line not in there]
    return {number: tuple(lines) for number, lines in sorted(found.items()) if lines}
