"""Choose the accelerator of a guest: KVM if a kernel has booted under it on this host, else TCG.

Takes a kernel, and boots it once under KVM with a time limit: there are hosts where /dev/kvm opens and makes a virtual
machine, but no kernel boots. Gives the accelerator and a sentence with the reason. Stores the result in
`$KDF_HOME/host.json` until the host boots again, or its CPU, kernel or QEMU changes.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import store
from core.arch import architecture
from core.runtime import Session
from guest import guests, plan, splats
from guest.guests import Start

# Time limit of the proof. If KVM works, a tiny kernel boots in one or two seconds, a defconfig kernel in four.
PROOF_SECONDS = 12.0
_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True)
class Accelerator:
    """The accelerator of a guest.

    Attributes:
        name: `kvm` or `tcg`.
        sentence: the reason, for the user.
    """

    name: str
    sentence: str


def _memory() -> Path:
    return store.home() / "host.json"


def _read_memory() -> dict[str, Any]:
    try:
        value = json.loads(_memory().read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _remember(key: str, proof: Mapping[str, Any]) -> None:
    known = _read_memory()
    kvm = known.get("kvm")
    known["kvm"] = {**(kvm if isinstance(kvm, dict) else {}), key: dict(proof)}
    store.write_json(_memory(), known)


def recall(key: str) -> Accelerator | None:
    """Return the result that is stored under a key; None if there is none."""
    kvm = _read_memory().get("kvm")
    proof = kvm.get(key) if isinstance(kvm, dict) else None
    if not isinstance(proof, dict) or not isinstance(proof.get("works"), bool):
        return None
    return Accelerator("kvm" if proof["works"] else "tcg", str(proof.get("sentence", "")))


def _cpu() -> str:
    """Return the CPU's name (x86) or part number (arm64), from /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "CPU part"):
            return value.strip()
    return platform.machine()


def host_key(session: Session, arch: str) -> str:
    """Return the key of this host: boot, CPU, kernel, and the session's QEMU.

    Raises:
        InfraError: the session has no QEMU.
    """
    version = session.run([architecture(arch).guest.program, "--version"], timeout=30)
    return store.key_of(
        {
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "cpu": _cpu(),
            "release": platform.release(),
            "qemu": version.tail[0] if version.tail else "",
            "runtime": session.name,
            "arch": arch,
        }
    )


def impossible(arch: str) -> str:
    """Return why KVM cannot work here; empty if only a boot can show it."""
    if platform.machine() != architecture(arch).machine:
        return f"KVM on this {platform.machine()} machine runs no {arch} guests"
    if not _DEVICE.exists():
        return "this machine has no /dev/kvm"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "/dev/kvm may not be used by this user (group kvm)"
    return ""


def known(session: Session, arch: str) -> Accelerator | None:
    """Return the accelerator if it is known without a boot; None if a proof is needed.

    Raises:
        InfraError: the session has no QEMU.
    """
    if why := impossible(arch):
        return Accelerator("tcg", f"{why}: using TCG")
    return recall(host_key(session, arch))


def prove(kernel_dir: Path, arch: str, session: Session, workdir: Path, *, image: str = guests.IMAGE) -> Accelerator:
    """Return the accelerator for a kernel: KVM if a boot has proved it on this host, else TCG.

    Args:
        kernel_dir: contains the kernel to boot.
        session: where QEMU runs; a container's session needs `guests.DEVICES`.
        workdir: a directory that the session may write to.

    Raises:
        InfraError: the session has no QEMU.
    """
    if accelerator := known(session, arch):
        return accelerator
    if not session.run(["test", "-w", str(_DEVICE)], timeout=30).ok:
        return Accelerator("tcg", "the session has no /dev/kvm: using TCG")
    key = host_key(session, arch)
    with store.lock("kvm-proof"):
        if accelerator := recall(key):
            return accelerator
        start = Start(
            kernel_dir,
            arch,
            plan.draw([]),
            accelerator="kvm",
            image=image,
            timeout=PROOF_SECONDS,
            keep_memory=False,
        )
        outcome = guests.boot(start, session, workdir / "kvm-proof")
        spoke = splats.scan(outcome.console).boots > 0
        if outcome.said.token == outcome.plan.token:
            proved = Accelerator("kvm", f"KVM works: this kernel booted under it in {outcome.ended.seconds:.1f} s")
        elif spoke:
            # KVM runs the kernel, so the kernel itself may be at fault: this proves nothing about KVM.
            return Accelerator("tcg", "KVM started this kernel, but it never reported: using TCG")
        else:
            why = outcome.ended.tail[-1].strip() if outcome.ended.broken and outcome.ended.tail else ""
            reason = f"{outcome.ended}{f' ({why})' if why else ''}"
            proved = Accelerator("tcg", f"KVM does not boot a kernel on this host: {reason}, no kernel line; using TCG")
        _remember(
            key,
            {
                "works": proved.name == "kvm",
                "sentence": proved.sentence,
                "seconds": round(outcome.ended.seconds, 1),
                "when": int(time.time()),
            },
        )
        return proved
