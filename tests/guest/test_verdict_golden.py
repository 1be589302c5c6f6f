"""Verdicts on consoles of kernels that were really made to misbehave: see tests/golden/console/make.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guest import channel, frames, verdict
from guest.verdict import Ended

FOLDER = Path(__file__).parent.parent / "golden" / "console"

# Log -> verdict, the kinds of its splats in order, words of the first title (or of the reason if there is none).
EXPECTED: dict[str, tuple[str, list[str], str]] = {
    "init-exits": ("failed", ["panic"], "Attempted to kill init! exitcode=0x00000300"),
    "init-segfaults": ("failed", ["panic"], "Attempted to kill init! exitcode=0x0000000b"),
    "init-missing": ("failed", ["panic"], "No working init found"),
    "sysrq-crash": ("failed", ["panic"], "Kernel panic - not syncing: sysrq triggered crash"),
    "out-of-memory-init": ("failed", ["out of memory", "out of memory", "panic"], "init invoked oom-killer"),
    "out-of-memory-child": ("failed", ["out of memory", "out of memory"], "init invoked oom-killer"),
    "triple-fault": ("lost", [], "the agent never reported"),
    "silent-restart": ("lost", [], "the agent never reported"),
    "sleeps-for-ever": ("lost", [], "QEMU was killed"),
    "spins-for-ever": ("lost", [], "QEMU was killed"),
    "killed-before-boot": ("lost", [], "the guest never said anything"),
    "killed-while-booting": ("lost", [], "the kernel never reached init"),
    "never-stops-talking": ("lost", [], "QEMU was killed"),
    "harmless-noise": ("lost", [], "the agent never reported"),
    "null-dereference": ("failed", ["oops"], "kernel NULL pointer dereference"),
    "execute-null": ("failed", ["oops"], "kernel NULL pointer dereference"),
    "write-read-only": ("failed", ["oops"], "BUG: unable to handle kernel paging request in lkdtm_WRITE_RO"),
    "bug": ("failed", ["bug"], "kernel BUG in lkdtm_BUG"),
    "panic": ("failed", ["panic"], "Kernel panic - not syncing: dumptest"),
    "warning": ("failed", ["warning"], "WARNING in lkdtm_WARNING"),
    "warning-message": ("failed", ["warning"], "WARNING in lkdtm_WARNING_MESSAGE"),
    "stack-overflow": ("failed", ["oops"], "BUG: "),
    # The kernel did not notice: only the token that never came tells.
    "stack-smashed": ("lost", [], "the agent never reported"),
    "list-corrupted": ("failed", ["warning"], "WARNING in lkdtm_CORRUPT_LIST_ADD"),
    "refcount": ("failed", ["warning"], "WARNING: refcount bug in lkdtm_REFCOUNT_INC_OVERFLOW"),
    "soft-lockup": ("failed", ["lockup", "lockup", "lockup"], "BUG: soft lockup in lkdtm_SOFTLOCKUP"),
    # While the CPU is lost RCU frees nothing: the tasks that end eat the memory.
    "rcu-stall": (
        "failed",
        ["rcu stall", "out of memory", "out of memory"],
        "INFO: rcu detected stall in lkdtm_SOFTLOCKUP",
    ),
    "hung-task": ("failed", ["hung task"], "INFO: task hung in lkdtm_HUNG_TASK"),
    "kasan-use-after-free": ("failed", ["kasan"], "KASAN: slab-use-after-free Write in lkdtm_WRITE_AFTER_FREE"),
    "kasan-out-of-bounds": ("failed", ["kasan"], "KASAN: slab-out-of-bounds Write in lkdtm_SLAB_LINEAR_OVERFLOW"),
    "kasan-null-dereference": ("failed", ["oops"], "general protection fault in lkdtm_EXCEPTION"),
    "ubsan-bounds": ("failed", ["ubsan"], "UBSAN: array-index-out-of-bounds in lkdtm_ARRAY_BOUNDS"),
    "lock-left-held": ("failed", ["lockdep", "bug"], "WARNING: lock held when returning to user space"),
    "loops-for-ever": ("lost", [], "QEMU was killed"),
    "bug-in-interrupt": ("failed", ["bug"], "kernel BUG in bug_in_hardirq"),
    "panic-in-interrupt": ("failed", ["panic"], "Kernel panic - not syncing: from hard IRQ context"),
    "bug-in-child": ("failed", ["bug"], "kernel BUG in lkdtm_BUG"),
    "locked-twice": ("failed", ["lockdep", "bug"], "WARNING: lock held when returning to user space"),
    "sleeps-while-atomic": ("failed", ["lockdep", "bug", "bug"], "WARNING: lock held when returning to user space"),
    "kasan-double-free": ("failed", ["kasan"], "KASAN: double-free in lkdtm_do_action"),
    # memset is not instrumented here: the page that is not there tells.
    "kasan-vmalloc": ("failed", ["oops"], "BUG: unable to handle kernel paging request in lkdtm_VMALLOC"),
    "kasan-read-after-free": ("failed", ["kasan"], "KASAN: slab-use-after-free Read in lkdtm_READ_AFTER_FREE"),
    "kasan-user-address": ("failed", ["kasan", "oops"], "KASAN: user-memory-access Read in lkdtm_ACCESS_USERSPACE"),
    "usercopy": ("failed", ["bug"], "kernel BUG in do_usercopy_slab_size"),
    "list-deleted": ("failed", ["warning"], "WARNING in lkdtm_CORRUPT_LIST_DEL"),
    "two-splats": ("failed", ["warning", "kasan"], "WARNING in lkdtm_WARNING"),
}

# Log -> the innermost frames of its first splat; a kernel without an unwinder has guesses, too.
FRAMES = {
    "bug": ["lkdtm_BUG", "lkdtm_do_action", "direct_entry"],
    "warning": ["lkdtm_WARNING", "lkdtm_do_action"],
    "panic": ["lkdtm_PANIC", "lkdtm_do_action"],
    "hung-task": ["lkdtm_HUNG_TASK"],
    "soft-lockup": ["lkdtm_SOFTLOCKUP"],
    "rcu-stall": ["lkdtm_SOFTLOCKUP"],
    "bug-in-interrupt": ["bug_in_hardirq", "__hrtimer_run_queues"],
    "kasan-use-after-free": ["lkdtm_WRITE_AFTER_FREE", "lkdtm_do_action", "direct_entry"],
    "kasan-double-free": ["kmem_cache_free", "lkdtm_do_action"],
    "kasan-user-address": ["lkdtm_ACCESS_USERSPACE", "lkdtm_do_action"],
    "ubsan-bounds": ["lkdtm_ARRAY_BOUNDS", "lkdtm_do_action"],
    "usercopy": ["do_usercopy_slab_size"],
}


def judged(name: str) -> verdict.Verdict:
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    ended = Ended(facts["code"], facts["timed_out"], 6.0)
    return verdict.judge(ended, channel.parse(b""), (FOLDER / f"{name}.log").read_bytes(), "0123456789abcdef")


@pytest.mark.parametrize("name", list(EXPECTED))
def test_golden(name: str) -> None:
    status, kinds, words = EXPECTED[name]
    made = judged(name)
    assert made.status == status
    assert [str(splat.kind) for splat in made.splats] == kinds
    assert words in (made.splats[0].title if made.splats else made.reasons[-1])
    assert not made.infra
    assert bool(made.tail) == (name != "killed-before-boot")


@pytest.mark.parametrize("name", list(FRAMES))
def test_frames(name: str) -> None:
    found = [one.name for one in frames.raw(judged(name).splats[0])]
    assert found[: len(FRAMES[name])] == FRAMES[name]
    assert len(found) <= frames.FRAMES


def test_every_log_is_expected() -> None:
    assert {path.stem for path in FOLDER.glob("*.log")} == set(EXPECTED)


def test_a_log_without_its_last_line_feed_and_twice() -> None:
    """Two guests' consoles in one file, the first cut within a line: both splats are there."""
    first, second = ((FOLDER / f"{name}.log").read_bytes() for name in ("bug", "warning"))
    made = verdict.judge(Ended(0, False, 1.0), channel.parse(b""), first[:-40] + second, "0123456789abcdef")
    assert [str(splat.kind) for splat in made.splats] == ["bug", "warning"]
