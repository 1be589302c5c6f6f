"""Verdicts from facts that are made up here; those from real consoles are in tests/guest/test_verdict_golden.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InfraError, UnderTest
from guest import channel, console, splats, verdict
from guest.channel import Channel, Type
from guest.splats import Kind
from guest.verdict import Ended, Status
from tests.frames import frame

BOOT = b"[    0.000000] Linux version 7.1.8 (x)\n[    0.580008] Run /init as init process\n"
DOWN = b"[    0.952032] reboot: Restarting system\n"
SENT = "0123456789abcdef"
WELL = Ended(0, False, 2.5)
KILLED = Ended(-9, True, 60.0)


def said(*, device: str = "yes", end: int | None = 0, token: str | None = SENT, more: bytes = b"") -> Channel:
    data = frame(Type.HELLO, 0xFFFFFFFF, f"agent=1\ndevice={device}\n".encode()) + frame(Type.BEGIN, 0, b"fork")
    if end is not None:
        data += frame(Type.END, 0, struct.pack("<i", end))
    data += more
    if token is not None:
        data += frame(Type.TOKEN, 0xFFFFFFFF, token.encode())
    return channel.parse(data)


NOTHING = channel.parse(b"")


def test_three_good_facts() -> None:
    made = verdict.judge(WELL, said(), BOOT + DOWN, SENT)
    assert (made.status, made.reasons, made.splats, made.infra) == (Status.PASSED, (), (), False)
    assert made.tail[-1].endswith("reboot: Restarting system")
    made.require()


@pytest.mark.parametrize(
    ("ended", "channel_said", "screen", "status", "reason"),
    [
        (WELL, said(token=None), BOOT, Status.LOST, "its token never came"),
        (WELL, NOTHING, BOOT, Status.LOST, "the agent never reported"),
        (WELL, NOTHING, BOOT[:40], Status.LOST, "the kernel never reached init"),
        (WELL, NOTHING, b"SeaBIOS\n", Status.LOST, "never said its first line"),
        (WELL, NOTHING, b"\0\0\x1b[2J \r\n", Status.LOST, "the guest never said anything"),
        (KILLED, NOTHING, BOOT, Status.LOST, "QEMU was killed after 60 s"),
        (KILLED, said(), BOOT, Status.LOST, "after its token had come"),
        (WELL, said(token="f" * 16), BOOT, Status.FAILED, "not this run's"),
        (WELL, said(end=22), BOOT, Status.FAILED, "workload fork ended with EINVAL"),
        (WELL, said(end=12345), BOOT, Status.FAILED, "workload fork ended with 12345"),
        (WELL, said(more=frame(Type.TROUBLE, 0, b"no such file")), BOOT, Status.FAILED, "no such file"),
        (WELL, said(more=b"garbage"), BOOT, Status.FAILED, "the channel is damaged"),
        (WELL, said(), BOOT + b"[    1.0] BUG: KASAN: slab-use-after-free in x+0x1/0x2\n", Status.FAILED, "KASAN"),
        (KILLED, said(token=None), BOOT + b"[    1.0] Kernel panic - not syncing: x\n", Status.FAILED, "panic"),
    ],
)
def test_no_fact_makes_up_for_another(
    ended: Ended, channel_said: Channel, screen: bytes, status: Status, reason: str
) -> None:
    made = verdict.judge(ended, channel_said, screen, SENT)
    assert made.status is status
    assert reason in "; ".join(made.reasons)
    assert not made.infra
    with pytest.raises(UnderTest):
        made.require()


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (b"ended=timeout\n", "did not end in its time"),
        (b"signal=11\n", "died of SIGSEGV"),
        (b"signal=x\n", "died of x"),
        (b"error=-8\nexit=1\n", "ended with EINVAL"),
    ],
)
def test_how_a_workload_ended(facts: bytes, sentence: str) -> None:
    data = frame(Type.BEGIN, 0, b"exec") + frame(Type.FACTS, 0, facts) + frame(Type.END, 0, struct.pack("<i", 22))
    made = verdict.judge(WELL, channel.parse(data), BOOT, SENT)
    assert made.reasons[0] == f"workload exec {sentence}"


def test_a_reset_without_a_word() -> None:
    assert "triple fault" in verdict.judge(WELL, NOTHING, BOOT, SENT).reasons[0]
    assert "triple fault" not in verdict.judge(WELL, NOTHING, BOOT + DOWN, SENT).reasons[0]


def test_the_control_has_no_device_and_passes() -> None:
    assert verdict.judge(WELL, said(device="no", end=19), BOOT, SENT).passed
    assert not verdict.judge(WELL, said(device="yes", end=19), BOOT, SENT).passed


@pytest.mark.parametrize(
    ("code", "sentence"), [(-6, "QEMU died of SIGABRT"), (-9, "SIGKILL"), (1, "QEMU ended with exit code 1")]
)
def test_qemu_that_fails_is_the_machines_fault(code: int, sentence: str) -> None:
    made = verdict.judge(Ended(code, False, 1.0, ("qemu: could not",)), NOTHING, b"", SENT)
    assert made.status is Status.LOST
    with pytest.raises(InfraError, match=sentence):
        made.require()


def test_a_splat_is_the_kernels_fault_even_if_qemu_fails() -> None:
    made = verdict.judge(Ended(-6, False, 1.0), NOTHING, BOOT + b"[    1.0] kernel BUG at mm/x.c:1!\n", SENT)
    assert (made.status, made.infra) == (Status.FAILED, False)


def test_the_workload_that_ran_then_is_named() -> None:
    made = verdict.judge(KILLED, said(end=None, token=None), BOOT, SENT)
    assert made.during == "workload fork"
    with pytest.raises(UnderTest, match="during workload fork"):
        made.require()


SPLATS = [
    (Kind.PANIC, b"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b"),
    (Kind.KASAN, b"BUG: KASAN: slab-out-of-bounds in lkdtm+0x1/0x2"),
    (Kind.KASAN, b"BUG: KFENCE: use-after-free read in f"),
    (Kind.UBSAN, b"UBSAN: array-index-out-of-bounds in lib/x.c:3:4"),
    (Kind.LOCKUP, b"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:1]"),
    (Kind.LOCKUP, b"watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0"),
    (Kind.HUNG_TASK, b"INFO: task init:1 blocked for more than 122 seconds."),
    (Kind.RCU_STALL, b"rcu: INFO: rcu_preempt self-detected stall on CPU"),
    (Kind.RCU_STALL, b"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
    (Kind.LOCKDEP, b"WARNING: possible circular locking dependency detected"),
    (Kind.LOCKDEP, b"WARNING: suspicious RCU usage"),
    (Kind.LOCKDEP, b"INFO: trying to register non-static key."),
    (Kind.OOPS, b"BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    (Kind.OOPS, b"BUG: unable to handle page fault for address: ffff888000000000"),
    (Kind.OOPS, b"Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP"),
    (Kind.OOPS, b"general protection fault: 0000 [#1] SMP"),
    (Kind.OOPS, b"Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000"),
    (Kind.OOPS, b"Internal error: Oops - BUG: 00000000f2000800 [#1] SMP"),
    (Kind.OOM, b"Out of memory: Killed process 12 (a) total-vm:1kB"),
    (Kind.BUG, b"kernel BUG at drivers/misc/lkdtm/bugs.c:100!"),
    (Kind.BUG, b"BUG: scheduling while atomic: a/1/0x00000002"),
    (Kind.BUG, b"BUG: Bad page state in process a  pfn:1"),
    (Kind.WARNING, b"WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2"),
    (Kind.WARNING, b"WARNING: kernel/x.c:1 at f+0x1/0x2, CPU#0: a/1"),
    (Kind.TRACE, b"Call Trace:"),
]
CLOTHES = [
    b"[    1.234567] %s\n",
    b"%s\n",
    b"[    1.234567][    T1] %s\n",
    b"[    1.234567] \x1b[1;31m%s\x1b[0m\r\n",
    b"half a line of somebody else[    1.234567] %s",
    b"\x00\x00[    1.234567] %s\x00\n",
    b"\xff\xfe[ 1234.234567] %s\n",
]


@pytest.mark.parametrize("dressed", CLOTHES)
@pytest.mark.parametrize(("kind", "line"), SPLATS)
def test_splats_in_all_clothes(kind: Kind, line: bytes, dressed: bytes) -> None:
    found = splats.scan(BOOT + dressed.replace(b"%s", line) + DOWN).splats
    assert [splat.kind for splat in found] == [kind]
    if kind is not Kind.TRACE:
        assert found[0].text in line.decode()
        assert found[0].line == 3


def test_escapes_and_nuls_within_the_words() -> None:
    found = splats.scan(b"BU\x00G: KA\x1b[0mSAN: x\x1b]0;title\x07 y\n").splats
    assert [(s.kind, s.text) for s in found] == [(Kind.KASAN, "BUG: KASAN: x y")]


def test_two_splats_at_once() -> None:
    text = b"[    1.0] BUG: kernel NULL pointer dereference, add[    1.1] WARNING: CPU: 1 PID: 2 at x.c:1 f\n"
    assert [s.kind for s in splats.scan(text).splats] == [Kind.OOPS, Kind.WARNING]
    both = b"[    1.0] kernel BUG at a.c:1!\n[    1.1] BUG: KASAN: x\n[    1.2] Call Trace:\n"
    assert [s.kind for s in splats.scan(both).splats] == [Kind.BUG, Kind.KASAN]


@pytest.mark.parametrize(
    "line",
    [
        b"[    0.0] Command line: console=ttyS0 oops=panic panic=-1",
        b"[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS",
        b"[    0.1] rcu: \tRCU debug extended QS entry/exit.",
        b"[    0.2] debug: DEBUG: x",
        b"[    0.2] UBSAN: enabled",
        b"[    0.2] kasan: KernelAddressSanitizer initialized",
        b"[    0.2] watchdog: Delayed init of the lockup detector failed: -19",
        b"[    0.2] lockdep: Lock dependency validator: Copyright (c) 2006",
        b"[    0.2] x86/fpu: x87 FPU will use FXSAVE",
        b"[    0.2] Oopsies: 0",
        b"[    0.2] random: crng init done",
        b"kdf-agent: the workload did not end well: fork: error 22",
    ],
)
def test_what_a_healthy_kernel_says(line: bytes) -> None:
    assert splats.scan(BOOT + line + b"\n" + DOWN).splats == ()


def test_a_trace_within_a_splat_is_part_of_it() -> None:
    lines = [
        b"[    1.0] BUG: KASAN: x",
        *[b"[    1.0] line"] * 5,
        b"[    1.0] Call Trace:",
        b"[    1.0] ---[ end trace 0 ]---",
    ]
    found = splats.scan(b"\n".join(lines)).splats
    assert len(found) == 1
    assert found[0].lines[-1].endswith("---[ end trace 0 ]---")


def test_a_trace_that_was_asked_for() -> None:
    assert splats.scan(b"[    1.0] sysrq: Show Blocked State\n[    1.0] Call Trace:\n").splats == ()


@given(st.binary(max_size=2000))
def test_any_console(screen: bytes) -> None:
    made = verdict.judge(WELL, NOTHING, screen, SENT)
    assert not made.passed
    assert len(made.tail) <= console.TAIL_LINES
    assert all(
        character.isprintable() or ord(character) > 126 or character == "\t" for x in made.tail for character in x
    )


def test_an_endless_console_is_bounded() -> None:
    screen = BOOT + b"[    1.0] BUG: x\n" * 100000
    assert len(splats.scan(screen).splats) == splats.MAX_SPLATS
