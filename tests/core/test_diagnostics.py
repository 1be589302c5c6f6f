"""Logs of builds: every form of a warning, the cause of a failure, and who ended it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import diagnostics
from core.errors import InfraError, UnderTest
from core.process import Finished
from core.step import MissingProgramError, require

FOLDER = Path(__file__).parent.parent / "golden" / "field" / "builds"

CAUSES = {
    "build_assembler": "<instantiation>:2: invalid instruction mnemonic 'x'",
    "build_fatal_error": "fs/a.c:2: fatal error: 'nope.h' file not found",
    "build_killed_in_source_line": "mm/oom_kill.c:950: call to undeclared function 'sample_err'",
    "build_modpost_undefined": 'modpost: "sym" [lib/a.ko] undefined!',
    "build_objtool_error": "vmlinux.o: objtool: fn+0x1: sibling call from callable instruction with modified stack frame",  # noqa: E501
    "build_rustc": "rust/kernel/a.rs:12: error[E0308]: mismatched types",
    "build_wrong_program_text": "fs/a.c:3: use of undeclared identifier 'c'",
}


def of_log(path: Path) -> Finished:
    return Finished(("make",), 2, tuple(path.read_text().splitlines()[-20:]), 3.0, start=0)


@pytest.mark.parametrize("name", list(CAUSES))
def test_the_cause_is_told_and_not_what_make_says(name: str) -> None:
    log = FOLDER / f"{name}.log"
    with pytest.raises(UnderTest) as caught:
        require(of_log(log), "compiling the kernel", log)
    assert caught.value.message == f"compiling the kernel failed: {CAUSES[name]}"


def test_every_case_is_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.log")} == {*CAUSES, "warnings"}


def test_all_forms_of_warnings() -> None:
    found = diagnostics.read((FOLDER / "warnings.log").read_text().splitlines())
    assert not found.errors
    assert [(w.file, w.line) for w in found.warnings] == [
        ("", 0), ("", 0), ("ld.lld", 0), ("ld.lld", 0), ("clang", 0), ("rust/kernel/sample.rs", 12),
        ("<inline asm>", 3), ("vmlinux.o", 0), ("fs/open.c", 12), ("include/linux/sample.h", 7),
    ]  # fmt: skip


# Line of a failed build, and the cause that is told.
MORE = {
    "ld.lld: error: undefined symbol: foo_bar": "ld.lld: undefined symbol: foo_bar",
    "ld: fs/a.o: in function `x':\na.c:(.text+0x1): undefined reference to `foo'": "a.c:(.text+0x1): undefined reference to `foo'",  # noqa: E501
    "make[1]: *** No rule to make target 'certs/x.pem', needed by 'certs/x'.  Stop.":
        "No rule to make target 'certs/x.pem', needed by 'certs/x'",
    "Makefile:12: *** missing separator.  Stop.": "Makefile:12: missing separator",
    "FAILED: load BTF from vmlinux: No such file or directory": "FAILED: load BTF from vmlinux: No such file or directory",  # noqa: E501
    "BTF: .tmp_vmlinux1: pahole (pahole) is not available": "BTF: .tmp_vmlinux1: pahole (pahole) is not available",
    "fs/foo/Kconfig:12: syntax error": "fs/foo/Kconfig:12: syntax error",
    "fs/foo/Kconfig:3: error: recursive dependency detected!": "fs/foo/Kconfig:3: recursive dependency detected!",
    "arch/x86/a.S: Assembler messages:\narch/x86/a.S:12: Error: no such instruction: `foo'":
        "arch/x86/a.S:12: no such instruction: `foo'",
    "\x1b[1mfs/a.c:1:2: \x1b[0;31merror: \x1b[0mnope": "fs/a.c:1: nope",
    "error: could not compile `x` (lib) due to 1 previous error\nerror[E0425]: cannot find value `y`\n --> src/a.rs:3:4":  # noqa: E501
        "src/a.rs:3: error[E0425]: cannot find value `y`",
    "CMake Error at CMakeLists.txt:3 (message):\n  nope": "CMakeLists.txt:3: CMake Error",
    "clang: error: linker command failed with exit code 1\nfs/b.c:9:1: error: x": "fs/b.c:9: x",
    "fs/a.c:1:1: error: unused variable 'x' [-Werror,-Wunused-variable]": "fs/a.c:1: unused variable 'x' [-Werror,-Wunused-variable]",  # noqa: E501
    "ModuleNotFoundError: No module named 'yaml'": "ModuleNotFoundError: No module named 'yaml'",
    "ERROR: modpost: missing MODULE_LICENSE() in lib/a.o": "modpost: missing MODULE_LICENSE() in lib/a.o",
    "scripts/a.sh: Permission denied": "scripts/a.sh: Permission denied",
    "nothing said": "it ended with 2",
}  # fmt: skip


@pytest.mark.parametrize("text", list(MORE))
def test_more_causes(text: str) -> None:
    tail = (
        *text.split("\n"),
        "make[2]: *** [scripts/Makefile.build:289: fs/a.o] Error 1",
        "make: *** [Makefile:1: x] Error 2",
    )
    with pytest.raises(UnderTest) as caught:
        require(Finished(("make",), 2, tail, 1.0), "it", None)
    assert caught.value.message == f"it failed: {MORE[text]}"


@pytest.mark.parametrize(
    "line",
    [
        "Killed", "make[2]: *** [scripts/Makefile.build:289: fs/a.o] Killed",
        "clang: error: unable to execute command: Killed", "gcc: fatal error: Killed signal terminated program cc1",
        "LLVM ERROR: out of memory", "sh: line 1: 12345 Killed                  cc1 a.c",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
    ],
)  # fmt: skip
def test_the_machine_killed_it(line: str) -> None:
    with pytest.raises(InfraError, match="was killed"):
        require(Finished(("make",), 2, (line, "make: *** [x] Error 1"), 1.0), "it", None)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ld.lld: error: failed to write output 'a': No space left on device", InfraError),
        ("cp: error writing 'a': No space left on device", InfraError),
        ("/bin/sh: 1: bc: not found", MissingProgramError),
        ("bash: line 3: pahole: command not found", MissingProgramError),
        ("/usr/bin/env: 'python3': No such file or directory", MissingProgramError),
        ("make: bc: No such file or directory", MissingProgramError),
        ('  950 |   pr_err("No space left on device', UnderTest),
        ("fs/a.c:1:1: error: function 'b': not found", UnderTest),
        ("fs/a.c:3:1: error: use of undeclared identifier 'Killed'", UnderTest),
    ],
)
def test_words_of_tools_decide(line: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        require(Finished(("make",), 2, (line,), 1.0), "it", None)
    assert type(caught.value) is kind


@given(st.lists(st.text(max_size=200), max_size=30))
def test_any_log(lines: list[str]) -> None:
    found = diagnostics.read(lines)
    assert isinstance(found.cause, str)


@pytest.mark.parametrize(
    "unit", ["\r", "a", " ", ":", "a:", "error: ", "x:1:1: ", "\x1b[", "ld: ", "env: '", "/", "\t|"]
)
def test_no_line_is_too_long(unit: str, tmp_path: Path) -> None:
    """16 MB of each, without line feeds and with: at most 10 s of CPU."""
    log = tmp_path / "build.log"
    half = 8 << 20
    log.write_text(unit * (half // len(unit)) + "\n" + (unit * 40 + "\n") * (half // (40 * len(unit) + 1)))
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "from core import diagnostics; print(len(diagnostics.read(open(sys.argv[1], errors='replace')).cause))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
