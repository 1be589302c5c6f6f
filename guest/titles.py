"""Compose the title of a report: what people put in a subject line.

Takes the text of the first line and the messages of the report. Gives "KASAN: slab-use-after-free Read in foo_poll",
"WARNING in foo", "possible deadlock in foo". The forms are those that public trackers of kernel bugs use, so that a
search finds the same bug.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from guest import stacks

# A title is longer only if the kernel's own words are.
LIMIT = 200

_FUNCTION = r"([\w.$]{1,256})\+0x[0-9a-f]{1,8}(?:/0x[0-9a-f]{1,8})?"
_SIZE = re.compile(r"^(Read|Write) (?:of size \d+ )?at addr")
_KASAN = re.compile(rf"BUG: KASAN: ([\w -]{{1,64}}?) in (?:{_FUNCTION}|(\S{{1,256}}))")
_SANITIZER = re.compile(r"BUG: (K[MC]SAN|KFENCE): ([\w -]{1,64}?)(?: in (.{1,300}))?$")
_OFFSET = re.compile(r"\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}")
_UBSAN = re.compile(r"UBSAN: ([\w -]{1,64}?) in \S{1,256}")

# First line -> title; {} stands for " in FUNCTION", or for nothing if no function is known. Tried in this order.
_TITLES: tuple[tuple[str, str], ...] = (
    (r"BUG: (?:unable to handle kernel )?(?:kernel )?NULL pointer dereference|Unable to handle kernel NULL pointer",
     "BUG: unable to handle kernel NULL pointer dereference{}"),
    (r"BUG: unable to handle (?:page fault|kernel paging)|Unable to handle kernel (?:paging request|access to user)",
     "BUG: unable to handle kernel paging request{}"),
    (r"general protection fault|Oops: general protection", "general protection fault{}"),
    (r"divide error", "divide error{}"),
    (r"invalid opcode", "invalid opcode{}"),
    (r"BUG: memory leak", "memory leak{}"),
    (r"unchecked MSR access error", "unchecked MSR access error{}"),
    (r"stack segment", "stack segment fault{}"),
    (r"double fault", "double fault{}"),
    (r"kernel BUG at ", "kernel BUG{}"),
    (r"kernel stack overflow|stack guard page|TASK stack guard|IRQ stack guard|Insufficient stack space",
     "BUG: stack guard page was hit{}"),
    (r"INFO: task .{1,64} blocked (?:for more|in I/O)", "INFO: task hung{}"),
    (r"rcu.{0,32}detected (?:expedited )?stalls?|self-detected stall", "INFO: rcu detected stall{}"),
    (r"BUG: soft lockup", "BUG: soft lockup{}"),
    (r"[Hh]ard LOCKUP", "BUG: hard lockup{}"),
    (r"possible (?:circular locking|recursive locking|irq lock inversion)|irq-unsafe lock order|-unsafe lock order",
     "possible deadlock{}"),
    (r"inconsistent lock state", "inconsistent lock state{}"),
    (r"suspicious RCU usage", "WARNING: suspicious RCU usage{}"),
    (r"WARNING: (bad unlock balance|bad contention|held lock freed|lock held when returning to user space|"
     r"Nested lock was not taken)", r"WARNING: \1{}"),
    (r"BUG: (Invalid wait context)", r"BUG: \1{}"),
    (r"INFO: trying to register non-static key", "INFO: trying to register non-static key{}"),
    (r"BUG: sleeping function called from invalid context", "BUG: sleeping function called from invalid context{}"),
    (r"BUG: scheduling while atomic", "BUG: scheduling while atomic{}"),
    (r"BUG: using (\w{1,40})\(\) in preemptible", r"BUG: using \1() in preemptible code{}"),
    (r"BUG: (Bad page (?:state|map|cache)|Bad rss-counter state|non-zero pgtables_bytes on freeing mm)", r"BUG: \1"),
    (r"BUG: spinlock ([\w ]{1,40}?) on CPU", r"BUG: spinlock \1{}"),
    (r"unregister_netdevice: waiting for (\S{1,16}) to become free", r"unregister_netdevice: waiting for \1 to "
        r"become free"),
    (r"ODEBUG: ", "WARNING: ODEBUG bug{}"),
    (r"refcount_t: ", "WARNING: refcount bug{}"),
)  # fmt: skip
_FORMS = tuple((re.compile(pattern), form) for pattern, form in _TITLES)
# What a warning is about, if the line above it or a function of its stack says so (lib/refcount.c, lib/debugobjects.c).
_REFCOUNT = re.compile(r"^refcount_warn_saturate|^refcount_error")
_DEBUGOBJECTS = re.compile(r"^debug_(?:print_object|object_)")
_WARN = re.compile(rf"WARNING: (?:.{{0,200}}? )?at (?:\S{{1,256}}:\d{{1,6}} )?(?:{_FUNCTION})?")


def compose(text: str, messages: Sequence[str]) -> str:
    """Return the title of a report.

    Args:
        text: the first line of the report, without anything that came before it on its line.
        messages: all messages of the report, its first line included.
    """
    frames = stacks.own(messages)
    suspects = [frame.name.partition(".")[0] for frame in stacks.guilty(frames)]
    where = f" in {suspects[0]}" if suspects else ""
    return (_sanitizer(text, messages, where) or _warning(text, frames, where) or _known(text, where) or text)[:LIMIT]


def _sanitizer(text: str, messages: Sequence[str], where: str) -> str:
    if match := _KASAN.search(text):
        what, function = match[1], match[2] or match[3]
        access = next((found[1] for message in messages[:6] if (found := _SIZE.match(message))), "")
        if what in ("double-free", "invalid-free", "double-free or invalid-free"):
            access = ""
        # The function on the first line may only check or copy; then the stack tells who called it.
        return f"KASAN: {what}{f' {access}' if access else ''}{_where(function, where)}"
    if match := _SANITIZER.search(text):
        kind, what, functions = match[1], match[2], _OFFSET.sub("", match[3] or "")
        if kind == "KCSAN" and " / " in functions:
            return f"KCSAN: {what} in {functions}"
        return f"{kind}: {what}{_where(functions.partition(' ')[0], where)}"
    if match := _UBSAN.search(text):
        return f"UBSAN: {match[1]}{where}" if where else text
    return ""


def _where(function: str, where: str) -> str:
    """Return where it happened by the first line, unless only the stack names a function that matters."""
    if not function:
        return where
    frame = stacks.Raw(function, 0, 0, returns=False)
    return f" in {function}" if stacks.guilty([frame]) or not where else where


def _warning(text: str, frames: Sequence[stacks.Raw], where: str) -> str:
    match = _WARN.match(text)
    if not match:
        return ""
    names = [match[1] or "", *(frame.name for frame in frames[:4])]
    if any(_REFCOUNT.match(name) for name in names):
        return f"WARNING: refcount bug{where}"
    if any(_DEBUGOBJECTS.match(name) for name in names):
        return f"WARNING: ODEBUG bug{where}"
    return f"WARNING{_where(match[1] or '', where)}"


def _known(text: str, where: str) -> str:
    for pattern, form in _FORMS:
        if match := pattern.search(text):
            return match.expand(form.replace("{}", "")) + (where if "{}" in form else "")
    return ""
