"""Ways to lose a symbol, made on real trees: each is lost, and told for the right reason.

All requests of a round are put on tinyconfig together, as a profile would, and go through the tree's own olddefconfig.
What is asked in one round does not get in the way of what is expected there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runtime import Mount, Session, choose
from kconfig import reason, survival, symbols
from kconfig.config import script_words
from kconfig.fragment import Asked
from kconfig.survival import Lost
from sources import catalogue
from toolchain import specs, toolchains

pytestmark = pytest.mark.slow

# Symbol, value, kind of the reason, what its sentence or settings hold. A kind of "" is granted: others
# need it.
FIRST = [
    ("KASAN", "y", "unmet dependency", "SYSFS=y"),
    ("KASAN", "y", "unmet dependency", "SLUB_TINY"),
    ("KASAN_INLINE", "y", "unmet dependency", "KASAN_INLINE -> KASAN_GENERIC -> KASAN -> SYSFS"),
    ("DEBUG_INFO", "y", "unmet dependency", "DEBUG_INFO_NONE"),
    ("NETFILTER_XT_MATCH_OWNER", "y", "unmet dependency", "INET -> NET"),
    ("MODULE_SIG_FORCE", "y", "unmet dependency", "MODULE_SIG -> MODULES"),
    ("VIRTIO_PCI", "y", "unmet dependency", "VIRTIO_MENU"),
    ("EXT4_FS", "m", "unmet dependency", "BLOCK=y"),
    ("CC_IS_GCC", "y", "compiler test", "init/Kconfig"),
    ("GCC_PLUGINS", "y", "compiler test", "scripts/gcc-plugins/Kconfig"),
    ("KASAN_SW_TAGS", "y", "invisible", "HAVE_ARCH_KASAN_SW_TAGS"),
    ("X86", "n", "invisible", "no prompt"),
    ("CC_HAS_ASM_GOTO_OUTPUT", "n", "invisible", "no prompt"),
    ("ARM64_MTE", "y", "unknown", "for this architecture"),
    ("KASANN", "y", "unknown", "did you mean KASAN?"),
    ("PAGE_TABLE_ISOLATION", "y", "unknown", "MITIGATION_PAGE_TABLE_ISOLATION"),
    ("RETPOLINE", "y", "unknown", "unknown to this tree"),
    ("FRAME_WARN", "99999", "range", "8192"),
    ("BINFMT_ELF", "m", "type", "bool"),
    ("SMP", "m", "type", "bool"),
    ("DEFAULT_HOSTNAME", "y", "type", "string"),
    ("USB_STORAGE", "y", "unmet dependency", "USB_SUPPORT"),
    ("BTRFS_FS", "y", "unmet dependency", "BLOCK"),
    ("IP_VS", "y", "unmet dependency", "NET=y"),
    ("DRM_I915", "m", "unmet dependency", "DRM"),
    ("SND_HDA_INTEL", "y", "unmet dependency", "SOUND=y"),
    ("LOG_BUF_SHIFT", "99", "unmet dependency", "PRINTK"),
    ("NR_CPUS", "100000", "unmet dependency", "SMP=y"),
    ("INIT_STACK_ALL_PATTERN", "y", "choice", "INIT_STACK_ALL_ZERO"),
    ("FUNCTION_TRACER", "y", "unmet dependency", "FTRACE=y"),
    ("BLK_DEV_NVME", "y", "unmet dependency", "PCI"),
    ("KVM_INTEL", "m", "unmet dependency", "VIRTUALIZATION=y"),
    ("SECURITY_SELINUX", "y", "unmet dependency", "SECURITY_NETWORK -> SECURITY"),
    ("CGROUP_BPF", "y", "unmet dependency", "CGROUPS=y"),
    ("ZSWAP", "y", "unmet dependency", "SWAP -> BLOCK"),
    ("PREEMPT_RT", "y", "", ""),
    ("TRANSPARENT_HUGEPAGE", "y", "unmet dependency", "PREEMPT_RT=n"),
    ("MODVERSIONS", "y", "unmet dependency", "MODULES=y"),
    ("UBSAN_TRAP", "y", "unmet dependency", "UBSAN=y"),
]
SECOND = [
    ("EXPERT", "n", "", ""),
    ("PROVE_LOCKING", "y", "", ""),
    ("DEBUG_SPINLOCK", "n", "selected", "PROVE_LOCKING"),
    ("LOCKDEP", "n", "selected", "PROVE_LOCKING"),
    ("STACKTRACE", "n", "selected", "LOCKDEP"),
    ("GENERIC_CPU_AUTOPROBE", "n", "selected", "X86"),
    ("KERNEL_GZIP", "y", "choice", "KERNEL_XZ"),
    ("LTO_CLANG_FULL", "y", "choice", "LTO_CLANG_THIN"),
    ("LTO_CLANG_THIN", "y", "", ""),
    ("PHYSICAL_ALIGN", "0x1000", "range", "0x200000"),
    ("CMDLINE", "y", "type", "string"),
    ("DEBUG_INFO_BTF", "y", "unmet dependency", "DEBUG_INFO_NONE"),
    ("64BIT", "n", "invisible", "not visible"),
    ("PREEMPT_RT", "y", "unmet dependency", "EXPERT=y"),
    ("LOG_CPU_MAX_BUF_SHIFT", "55", "unmet dependency", "SMP=y"),
    ("MODULES", "y", "", ""),
    ("TEST_BPF", "y", "unmet dependency", "m=y"),
    ("RCU_CPU_STALL_TIMEOUT", "9999", "unmet dependency", "TREE_RCU -> SMP"),
]
# What is so in some trees only.
OF_TREE = {
    "7.1.8": [("CFI_CLANG", "y", "invisible", "ask for CFI (")],
    "7.2.8": [("CFI_CLANG", "y", "invisible", "ask for CFI (")],
    "6.12.107": [("HIGHMEM64G", "y", "unmet dependency", "X86_32 -> 64BIT")],
}


def lose(session: Session, tree: Path, out: Path, make: list[str], cases: list[tuple[str, str, str, str]]) -> list[str]:
    """Ask for all of them, and say what was not as expected."""
    log = out / "log"
    asked = {name: value for name, value, _kind, _word in cases}
    words = [word for name, value in asked.items() for word in script_words(Asked(name, value, "--set", 0))]
    tool = session.path(tree / "scripts" / "config")
    for argv in (
        [*make, "tinyconfig"],
        ["bash", tool, "--file", session.path(out / ".config"), "--keep-case", *words],
        [*make, "olddefconfig"],
    ):
        assert session.run(argv, log=log).ok, log.read_text()[-2000:]
    final = (out / ".config").read_bytes()
    graph = symbols.load(session, out, make, log, {})
    assert (out / ".config").read_bytes() == final, "the reader must not write"
    got = survival.values(final.decode())
    wrong = []
    for name, value, kind, word in cases:
        there = got.get(name, survival.ABSENT)
        lost = not survival.granted(value, there)
        if lost != bool(kind):
            wrong.append(f"{name}={value}: the verdict is {'lost' if lost else 'granted'}, got {there}")
            continue
        if not lost:
            continue
        found = reason.find(graph, Lost(Asked(name, value, "--set", 0), there), asked)
        if found.kind != kind or word not in f"{found.sentence} {found.settings}":
            wrong.append(f"{name}={value}: {found.kind}: {found.sentence}")
    return wrong


def test_there_are_forty_ways() -> None:
    assert len({(name, kind) for name, _value, kind, _word in [*FIRST, *SECOND] if kind}) >= 40
    assert {kind for _n, _v, kind, _w in [*FIRST, *SECOND]} == {
        "", "unmet dependency", "compiler test", "invisible", "unknown", "range", "type", "choice", "selected",
    }  # fmt: skip


@pytest.mark.parametrize("linux", list(OF_TREE))
def test_each_loss_has_its_reason(linux: str, tmp_path: Path) -> None:
    tree = catalogue.source_tree(f"linux-{linux}").path / "src"
    toolchain = toolchains.ensure(specs.spec("stock-19"), choose())
    with toolchains.open_session(
        toolchain, [Mount(tree, "/kdf/tree"), Mount(tmp_path, "/kdf/build", writable=True)]
    ) as session:
        tools = session.path(toolchain.product.path)
        make = ["make", "-C", session.path(tree), f"O={session.path(tmp_path)}", "ARCH=x86_64", f"LLVM={tools}/bin/"]
        wrong = lose(session, tree, tmp_path, make, [*FIRST, *OF_TREE[linux]])
        wrong += lose(session, tree, tmp_path, make, SECOND)
    assert wrong == []
