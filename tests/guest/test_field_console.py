"""Consoles of kinds that real machines print: kind and title of each splat, and what is no splat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


GOLDEN = yaml.safe_load((FOLDER.parent / "reports.yaml").read_text())
REPORTS = [(report["text"], report["title"]) for report in GOLDEN["reports"]]
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


@pytest.mark.parametrize("line", GOLDEN["clean"])
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
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))\n"
        "from guest import splats; seen = splats.scan(Path(sys.argv[1])); print(json.dumps(seen.boots))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert json.loads(done.stdout) == 1


def test_a_stack_after_an_injected_failure_is_a_splat() -> None:
    asked = (FOLDER / "console_fault_injection.log").read_bytes()
    own = b"[    4.0] sysfs: cannot create duplicate filename '/x'\n[    4.0] Call Trace:\n[    4.0]  foo+0x1/0x2\n"
    assert [splat.title for splat in splats.scan(asked + own).splats] == [
        "sysfs: cannot create duplicate filename '/x'"
    ]
