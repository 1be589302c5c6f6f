"""Consoles of kinds that real machines print: kind and title of each splat, and what is no splat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guest import channel, frames, splats, verdict
from guest.verdict import Ended

FOLDER = Path(__file__).parent.parent / "golden" / "field" / "console"
BANNER = b"[    0.000000][    T0] Linux version 7.1.8 (a@b) #1\n"

# File -> kind and title of its only splat, or None.
FIELD: dict[str, tuple[str, str] | None] = {
    "console_unregister_netdevice": ("bug", "unregister_netdevice: waiting for lo to become free"),
    "console_kmemleak": ("bug", "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
    "console_bad_pmd": ("bug", "mm/pgtable-generic.c:54: bad pmd ffff888001234000(0000000000000063)"),
    "console_mand": None,
    "console_retbleed": None,
    "console_fault_injection": None,
    "console_kmsan": ("kasan", "KMSAN: uninit-value in outer"),
    "console_long_lockdep": ("lockdep", "possible deadlock in taker"),
    "console_invalid_wait": ("lockdep", "BUG: Invalid wait context"),
    "console_slub_trace": ("bug", "BUG kmalloc-64 (Not tainted): Poison overwritten"),
    "console_panic_twice": ("panic", "Kernel panic - not syncing: sample"),
    "console_dmesg_x": ("warning", "WARNING in fn"),
    "console_journal": ("warning", "WARNING in fn"),
    "console_syslog_no_time": ("warning", "WARNING in fn"),
    "console_after_reboot": None,
    "console-cr": None,
}


def test_every_case_is_here() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(FIELD)


@pytest.mark.parametrize("name", list(FIELD))
def test_field(name: str) -> None:
    seen = splats.scan(FOLDER / f"{name}.log")
    expected = FIELD[name]
    assert [(str(s.kind), s.title) for s in seen.splats] == ([expected] if expected else [])


def test_what_only_looks_like_trouble_is_named_and_does_not_fail() -> None:
    seen = splats.scan(FOLDER / "console_retbleed.log")
    assert seen.noticed == (
        "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
    )
    screen = (FOLDER / "console_after_reboot.log").read_bytes()
    made = verdict.judge(Ended(0, False, 1.0), channel.parse(b""), screen, "0123456789abcdef")
    assert made.noticed == ("the console has 2 boots",)


@pytest.mark.parametrize(
    ("name", "first"), [("console_kmsan", "outer"), ("console_long_lockdep", "taker"), ("console_slub_trace", "")]
)
def test_frames_of_reports_without_a_usual_trace(name: str, first: str) -> None:
    (splat,) = splats.scan(FOLDER / f"{name}.log").splats
    names = [frame.name for frame in frames.raw(splat)]
    assert names and (names[0] == first or not first)


# Reports as the sources of Linux 6.0 to 7.2 print them: the lines, and the title.
REPORTS: tuple[tuple[str, str], ...] = (
    ("BUG: KASAN: slab-use-after-free in foo_poll+0x12/0x340 net/foo.c:12\nRead of size 8 at addr ffff888012345678 by task a/1\n"
     "Call Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n print_report+0x1/0x2\n kasan_report+0x1/0x2\n foo_poll+0x12/0x340\n </TASK>\n"
     "Allocated by task 7:\n kasan_save_stack+0x1/0x2\n foo_open+0x1/0x2\n", "KASAN: slab-use-after-free Read in foo_poll"),
    ("BUG: KASAN: slab-out-of-bounds in memcpy+0x12/0x340\nWrite of size 64 at addr ffff888012345678 by task a/1\n"
     "Call Trace:\n dump_stack_lvl+0x1/0x2\n kasan_check_range+0x1/0x2\n __asan_memcpy+0x1/0x2\n bar_copy+0x1/0x2\n",
     "KASAN: slab-out-of-bounds Write in bar_copy"),
    ("BUG: KCSAN: data-race in foo_read / bar_write\n\nwrite to 0xffff888012345678 of 8 bytes by task 1 on cpu 0:\n"
     " bar_write+0x1/0x2\n do_it+0x1/0x2\n\nread to 0xffff888012345678 of 8 bytes by task 2 on cpu 1:\n foo_read+0x1/0x2\n",
     "KCSAN: data-race in foo_read / bar_write"),
    ("BUG: KFENCE: use-after-free read in foo_get+0x1/0x2\n\nUse-after-free read at 0xffff888012345678 (in kfence-#3):\n"
     " foo_get+0x1/0x2\n do_it+0x1/0x2\n\nkfence-#3: 0xffff-0xffff, size=32, cache=kmalloc-32\n\nallocated by task 1:\n x+0x1/0x2\n",
     "KFENCE: use-after-free read in foo_get"),
    ("UBSAN: shift-out-of-bounds in fs/foo.c:12:3\nshift exponent 64 is too large\nCall Trace:\n dump_stack_lvl+0x1/0x2\n"
     " ubsan_epilogue+0x1/0x2\n __ubsan_handle_shift_out_of_bounds+0x1/0x2\n foo_fill_super+0x1/0x2\n",
     "UBSAN: shift-out-of-bounds in foo_fill_super"),
    ("WARNING: CPU: 1 PID: 42 at fs/foo.c:12 foo_put+0x1/0x2\nModules linked in:\nCPU: 1 PID: 42 Comm: a Not tainted 6.1.0 #1\n"
     "RIP: 0010:foo_put+0x1/0x2\nCall Trace:\n <TASK>\n bar+0x1/0x2\n---[ end trace 0000000000000000 ]---\n", "WARNING in foo_put"),
    ("refcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2\n"
     "RIP: 0010:refcount_warn_saturate+0x1/0x2\nCall Trace:\n <TASK>\n foo_release+0x1/0x2\n---[ end trace 0 ]---\n",
     "WARNING: refcount bug in foo_release"),
    ("BUG: kernel NULL pointer dereference, address: 0000000000000008\n#PF: supervisor read access in kernel mode\n"
     "Oops: Oops: 0000 [#1] SMP\nCPU: 0 PID: 1 Comm: a\nRIP: 0010:foo_get+0x1/0x2\nCode: 00\nCall Trace:\n <TASK>\n bar+0x1/0x2\n"
     "---[ end trace 0 ]---\nKernel panic - not syncing: Fatal exception\nKernel Offset: disabled\n",
     "BUG: unable to handle kernel NULL pointer dereference in foo_get"),
    ("BUG: unable to handle page fault for address: ffffc90000000000\n#PF: error\nOops: 0002 [#1] SMP\nRIP: 0010:foo_set+0x1/0x2\n"
     "Call Trace:\n bar+0x1/0x2\n---[ end trace 0 ]---\n", "BUG: unable to handle kernel paging request in foo_set"),
    ("Oops: general protection fault, probably for non-canonical address 0xdffffc0000000003: 0000 [#1] SMP KASAN NOPTI\n"
     "KASAN: null-ptr-deref in range [0x18-0x1f]\nCPU: 0\nRIP: 0010:foo_ioctl+0x1/0x2\nCall Trace:\n <TASK>\n bar+0x1/0x2\n",
     "general protection fault in foo_ioctl"),
    ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\nMem abort info:\n  ESR = 0x96000004\n"
     "Internal error: Oops: 0000000096000004 [#1] SMP\nCPU: 0\npc : foo_get+0x1/0x2\nlr : bar+0x1/0x2\nCall trace:\n"
     " foo_get+0x1/0x2 (P)\n bar+0x1/0x2\n---[ end trace 0 ]---\n", "BUG: unable to handle kernel NULL pointer dereference in foo_get"),
    ("------------[ cut here ]------------\nkernel BUG at fs/foo.c:12!\nOops: invalid opcode: 0000 [#1] SMP\nCPU: 0\n"
     "RIP: 0010:foo_evict+0x1/0x2\nCall Trace:\n bar+0x1/0x2\n---[ end trace 0 ]---\n", "kernel BUG in foo_evict"),
    ("INFO: task kworker/0:1:12 blocked for more than 143 seconds.\n      Not tainted 6.12.0 #1\n\"echo 0 > /proc/...\" disables\n"
     "task:kworker/0:1     state:D stack:0 pid:12\nWorkqueue: events foo_work\nCall Trace:\n <TASK>\n __schedule+0x1/0x2\n"
     " schedule+0x1/0x2\n rwsem_down_write_slowpath+0x1/0x2\n down_write+0x1/0x2\n foo_work+0x1/0x2\n </TASK>\n",
     "INFO: task hung in foo_work"),
    ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\nrcu: \t1-...!: (1 GPs behind)\nSending NMI from CPU 0 to CPUs 1:\n"
     "NMI backtrace for cpu 1\nCPU: 1\nRIP: 0010:foo_loop+0x1/0x2\nCall Trace:\n <TASK>\n bar+0x1/0x2\n",
     "INFO: rcu detected stall in foo_loop"),
    ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [a:12]\nModules linked in:\nCPU: 0\nRIP: 0010:foo_loop+0x1/0x2\nCall Trace:\n"
     " bar+0x1/0x2\n", "BUG: soft lockup in foo_loop"),
    ("======================================================\nWARNING: possible circular locking dependency detected\n"
     "6.12.0 #1 Not tainted\n------------------------------------------------------\na/1 is trying to acquire lock:\n"
     "ffff888 (&x){+.+.}-{3:3}, at: foo_lock+0x1/0x2\n\nbut task is already holding lock:\nffff (&y){+.+.}, at: z+0x1/0x2\n\n"
     "which lock already depends on the new lock.\n\nthe existing dependency chain (in reverse order) is:\n\n-> #1 (&y){+.+.}-{3:3}:\n"
     "       __mutex_lock+0x1/0x2\n       other+0x1/0x2\n\nstack backtrace:\nCPU: 0\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n"
     " print_circular_bug+0x1/0x2\n check_noncircular+0x1/0x2\n __lock_acquire+0x1/0x2\n lock_acquire+0x1/0x2\n __mutex_lock+0x1/0x2\n"
     " foo_lock+0x1/0x2\n </TASK>\n", "possible deadlock in foo_lock"),
    ("BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580\nin_atomic(): 1, irqs_disabled(): 0\n"
     "CPU: 0\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n __might_resched+0x1/0x2\n __mutex_lock+0x1/0x2\n foo_send+0x1/0x2\n",
     "BUG: sleeping function called from invalid context in foo_send"),
    ("BUG: Bad page state in process a  pfn:12345\npage: refcount:0\npage last allocated via order 0\n set_page_owner+0x1/0x2\n"
     " get_page_from_freelist+0x1/0x2\nModules linked in:\nCPU: 0\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n bad_page+0x1/0x2\n"
     " foo_free+0x1/0x2\n", "BUG: Bad page state"),
    ("WARNING: suspicious RCU usage\n6.12.0 #1 Not tainted\n-----------------------------\nfs/foo.c:12 suspicious rcu_dereference_check() usage!\n"
     "\nstack backtrace:\nCPU: 0\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n lockdep_rcu_suspicious+0x1/0x2\n foo_get+0x1/0x2\n",
     "WARNING: suspicious RCU usage in foo_get"),
    ("softirq: huh, entered softirq 3 NET_RX 00000000 with preempt_count 00000100, exited with 00000101?\n",
     "softirq: huh, entered softirq 3 NET_RX 00000000 with preempt_count 00000100, exited with 00000101?"),
    ("ref_tracker: net notrefcnt@ffff888012345678 has 1/1 users at\n     sk_alloc+0x1/0x2\n",
     "ref_tracker: net notrefcnt@ffff888012345678 has 1/1 users at"),
    ("alg: self-tests for ctr(aes) using ctr-aes-x (x) failed (rc=-22)\n",
     "alg: self-tests for ctr(aes) using ctr-aes-x (x) failed (rc=-22)"),
    ("sysfs: cannot create duplicate filename '/class/foo'\nCPU: 0 PID: 1 Comm: a\nHardware name: QEMU\nWorkqueue: events foo\nCall Trace:\n"
     " dump_stack_lvl+0x1/0x2\n sysfs_warn_dup+0x1/0x2\n", "sysfs: cannot create duplicate filename '/class/foo'"),
)  # fmt: skip

PREFIXES = (
    "[    3.123456] %s", "[    3.123456][   T42] %s", "[    3.123456] [   T42] %s", "<4>[    3.123456] %s",
    "kern  :warn  : [    3.123456] %s", "[Tue Dec  1 12:00:00 2026] %s", "Dec 01 12:00:00 host kernel: %s",
    "2026-12-01T12:00:00+0000 host kernel: [    3.123456] %s", "2026-12-01T12:00:00.1234567Z [    3.123456] %s",
    "6,1234,3123456,-;%s", "6,1234,3123456,-,caller=T42;%s", "%s",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("text", "title"), REPORTS)
def test_titles_in_all_prefixes(text: str, title: str, prefix: str) -> None:
    screen = BANNER + "".join(prefix.replace("%s", line) + "\n" for line in text.splitlines()).encode()
    assert [splat.title for splat in splats.scan(screen).splats] == [title]


CLEAN = (
    "ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND (20250404/psargs-332)",
    "[Firmware Bug]: the BIOS has corrupted hw-PMU resources (MSR 38d is 330)",
    "tsc: Fast TSC calibration failed", "Warning: unable to open an initial console.",
    "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!",
    "perf: interrupt took too long (2513 > 2500), lowering kernel.perf_event_max_sample_rate to 79000",
    "sched: RT throttling activated", "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
    "systemd[1]: Started Log BUG reports.", "    # BUG: a test case of this name", "ok 4 - BUG: of a test's name",
    "nvidia: module license 'NVIDIA' taints kernel.", "EXT4-fs (vda): recovery complete", "WARNING: your hostname is long",
    "random: crng init done", "INFO: lockdep is turned off.", "Key type .fscrypt registered", "debug: unmapping init [mem]",
    "ima: No TPM chip found, activating TPM-bypass!", "alg: No test for foo (bar)", "raid6: using algorithm avx2x4 gen()",
    "kvm: SMP vm created on host with unstable TSC; guest TSC will not be reliable", "audit: type=1400 denied { read }",
    "Kernel command line: oops=panic panic_on_warn=1 nmi_watchdog=panic", "traps: a[12] general protection fault ip:1 sp:2 error:0",
    "a[12]: segfault at 0 ip 0000 sp 0000 error 4 in a[400000+1000]", "hrtimer: interrupt took 12345 ns",
    "workqueue: foo hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND", "kmemleak: Kernel memory leak detector initialized",
    "UBSAN: traps enabled", "KASAN: hardware tag-based is off", "kfence: initialized - using 2097152 bytes",
    "FAT-fs (vda): Volume was not properly unmounted. Some data may be corrupt.", "rcu: \tRCU event tracing is enabled.",
    "watchdog: hard watchdog permanently disabled", "selftests: foo: bar", "x86/mm: Checked W+X mappings: passed, no W+X pages found.",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.", "platform regulatory.0: Direct firmware load failed with error -2",
)  # fmt: skip


@pytest.mark.parametrize("line", CLEAN)
def test_a_healthy_kernel_has_no_splat(line: str) -> None:
    assert splats.scan(BANNER + f"[    1.000000] {line}\n".encode()).splats == ()


def test_a_report_in_the_middle_of_a_long_console_is_seen() -> None:
    quiet = b"[    1.000000] eth0: link becomes ready\n" * 500_000
    report = b"[    2.000000] BUG: KASAN: slab-use-after-free in foo+0x1/0x2\n"
    (splat,) = splats.scan(BANNER + quiet + report + quiet).splats
    assert (splat.title, splat.line) == ("KASAN: slab-use-after-free in foo", 500_002)


WORST = (
    b"\r", b"\x1b", b"\x1b[", b"\x1b]", b" ", b"a", b"[", b"0", b"\0", b"\xff", b"\n", b"BUG: ", b"Run ", b"WARNING: ",
    b"WARNING: at ", b"INFO: task ", b"Call Trace:\n", b"BUG: x\n", b"rcu: ", b"self-test ", b"[    1.0] ", b"kernel: ",
    b"Kernel panic - not syncing: Fatal exception\n", b"ok 1 x\n", b"UBSAN: ", b"alg: self-tests for ", b"a kernel: [",
)  # fmt: skip


@pytest.mark.parametrize("unit", WORST)
def test_nothing_that_a_guest_prints_hangs_its_verdict(unit: bytes, tmp_path: Path) -> None:
    """16 MB of each, in a process that may take 10 s of CPU and 512 MB; most take less than one."""
    log = tmp_path / "console.log"
    log.write_bytes(BANNER + unit * ((16 << 20) // len(unit)))
    code = (
        "import resource, sys, json; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10)); resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))\n"
        "from guest import splats; seen = splats.scan(Path(sys.argv[1])); print(json.dumps(seen.boots))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert json.loads(done.stdout) == 1
