"""QEMU's command lines, word by word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.data import load_yaml
from core.errors import UserError
from guest import qemu
from guest.qemu import Machine

X86 = Machine("x86_64", "tcg", "/k/image", "/r/initrd.cpio", "/r/console.log", "/r/channel.bin")
ARM = Machine("arm64", "tcg", "/k/image", "/r/initrd.cpio", "/r/console.log", "/r/channel.bin", memory_mb=512, cpus=2)


def test_x86_64() -> None:
    assert qemu.command(X86) == [
        "qemu-system-x86_64",
        "-machine",
        "pc",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-smp",
        "1",
        "-m",
        "1024M",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-chardev",
        "file,id=console,path=/r/console.log",
        "-serial",
        "chardev:console",
        "-kernel",
        "/k/image",
        "-initrd",
        "/r/initrd.cpio",
        "-append",
        "console=ttyS0 earlycon=uart8250,io,0x3f8,115200n8 no5lvl "
        "panic=-1 oops=panic printk.time=1 loglevel=8 rdinit=/init",
        "-device",
        "virtio-serial-pci,ioeventfd=off",
        "-chardev",
        "file,id=channel,path=/r/channel.bin",
        "-device",
        "virtserialport,chardev=channel,name=kdf.channel",
    ]


def test_arm64() -> None:
    assert qemu.command(ARM) == [
        "qemu-system-aarch64",
        "-machine",
        "virt,gic-version=max",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-smp",
        "2,sockets=2",
        "-m",
        "512M",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-chardev",
        "file,id=console,path=/r/console.log",
        "-serial",
        "chardev:console",
        "-kernel",
        "/k/image",
        "-initrd",
        "/r/initrd.cpio",
        "-append",
        "console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1 oops=panic printk.time=1 loglevel=8 rdinit=/init",
        "-global",
        "virtio-mmio.ioeventfd=off",
        "-device",
        "virtio-serial-device",
        "-chardev",
        "file,id=channel,path=/r/channel.bin",
        "-device",
        "virtserialport,chardev=channel,name=kdf.channel",
    ]


def test_kvm_takes_the_hosts_cpu() -> None:
    argv = qemu.command(Machine("x86_64", "kvm", "k", "i", "c", "d"))
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert argv[argv.index("-cpu") + 1] == "host"


def test_a_comma_in_a_path_and_our_parameters_first() -> None:
    argv = qemu.command(Machine("x86_64", "tcg", "k", "i", "/a,b/console", "d", append=("nokaslr",)))
    assert "file,id=console,path=/a,,b/console" in argv
    assert argv[argv.index("-append") + 1].endswith("rdinit=/init nokaslr")


def test_an_architecture_that_no_guest_has() -> None:
    with pytest.raises(UserError, match="riscv"):
        qemu.command(Machine("riscv", "tcg", "k", "i", "c", "d"))


def test_timeouts_grow_with_what_makes_a_guest_slow() -> None:
    assert qemu.timeout("kvm") < qemu.timeout("tcg") < qemu.timeout("tcg", "kasan")
    assert qemu.timeout("tcg", works=1) < qemu.timeout("tcg", works=4)
    with pytest.raises(UserError, match="did you mean kasan"):
        qemu.timeout("tcg", "kasna")


@pytest.mark.parametrize(
    ("arch", "accelerator", "cpus", "asked"),
    [
        ("x86_64", "tcg", 1, "tcg"),
        ("x86_64", "tcg", 2, "tcg,thread=single"),
        ("x86_64", "kvm", 2, "kvm"),
        ("arm64", "tcg", 2, "tcg"),
    ],
)
def test_translated_cpus_share_a_thread(arch: str, accelerator: str, cpus: int, asked: str) -> None:
    machine = Machine(arch, accelerator, "k", "i", "c", "p", cpus=cpus)
    argv = qemu.command(machine)
    assert argv[argv.index("-accel") + 1] == asked


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
@pytest.mark.parametrize("sanitizer", ["none", "ubsan", "kasan"])
def test_limits_are_at_least_twice_what_was_measured(accelerator: str, sanitizer: str) -> None:
    row = load_yaml(qemu.TIMEOUTS).get(accelerator).get(sanitizer).convert(qemu.Limit)
    assert qemu.timeout(accelerator, sanitizer, row.works) >= 2 * row.measured
    assert bool(row.measured) == bool(row.run)


def test_the_slowest_sanitizer_of_a_config() -> None:
    assert qemu.sanitizer_of("CONFIG_A=y\n") == "none"
    assert qemu.sanitizer_of("CONFIG_UBSAN=y\nCONFIG_KASAN=y\n") == "kasan"
    assert qemu.sanitizer_of("CONFIG_UBSAN=y\n# CONFIG_KASAN is not set\n") == "ubsan"


def test_a_guest_whose_clock_counts_instructions() -> None:
    exact = replace(X86, exact=True)
    said = " ".join(qemu.command(exact))
    assert "-accel tcg -cpu max,-rdrand,-rdseed -icount shift=1,sleep=off -rtc base=2026-01-01,clock=vm" in said
    assert {"nokaslr", "norandmaps", "no_timer_check"} <= set(qemu.command_line(exact).split())
    on_arm = qemu.command(replace(ARM, exact=True, cpus=1))
    assert "dtb-randomness=off" in " ".join(on_arm)
    assert on_arm[on_arm.index("-cpu") + 1] != "max", "it has RNDR"


@pytest.mark.parametrize("change", [{"accelerator": "kvm"}, {"cpus": 2}])
def test_what_cannot_count_instructions(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one CPU"):
        replace(X86, exact=True, **change)


@pytest.mark.parametrize(
    ("cpus", "memory", "config", "said"),
    [
        ("0", "", None, r"--smp 0 is not a number from 1 to 255"),
        ("two", "", None, "--smp two"),
        ("", "64", None, "--memory 64 is not a number from 128"),
        ("", "99999999", None, "--memory 99999999"),
        ("2", "", {"SMP": "n"}, "the kernel has no SMP"),
        ("4", "", {"SMP": "y", "NR_CPUS": "2"}, "the kernel would use 2 of 4 processors"),
    ],
)
def test_sizes_that_no_guest_has(cpus: str, memory: str, config: dict[str, str] | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        qemu.size_of(cpus, memory, config)


def test_sizes() -> None:
    assert qemu.size_of("", "") == qemu.Size(1, 1024)
    assert qemu.size_of("4", "2048", {"SMP": "y"}) == qemu.Size(4, 2048)
