"""Making a configuration, with a tree and a make of our own: what is run, what is replaced, what errors become."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.errors import InfraError, UnderTest
from core.runtime import HostSession
from kconfig import config, survival
from kconfig.fragment import Asked
from kconfig.profiles import Request

# Plays make: the base has three symbols, olddefconfig drops GONE, keeps the last value of each symbol, and sorts.
_MAKE = """\
import os, pathlib, re, signal, sys
words = dict(w.split("=", 1) for w in sys.argv[1:] if "=" in w)
target = sys.argv[-1]
out = pathlib.Path(words["O"])
file = out / words["KCONFIG_CONFIG"]
(out / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")
fail = os.environ.get("FAIL", "")
if fail.startswith(target + ":"):
    kind, text = fail.split(":", 2)[1:]
    if text:
        print(text)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print("make: *** [Makefile:1: x] Error 2")
    sys.exit(2)
if target == "tinyconfig":
    file.write_text("CONFIG_B=y\\nCONFIG_A=y\\nCONFIG_S=\\"old\\"\\n")
elif target == "olddefconfig":
    values = {}
    for n, line in enumerate(file.read_text().splitlines(), 1):
        found = re.fullmatch(r"(?:# )?CONFIG_(\\w+)(?:=.*| is not set)", line)
        if found:
            values[found[1]] = line
            if os.environ.get("KCONFIG_WARN_UNKNOWN_SYMBOLS") and found[1].startswith("GONE"):
                print(f"{file.name}:{n}:warning: unknown symbol: {found[1]}")
    pathlib.Path(str(file) + ".old").write_text("")
    kept = [v for k, v in sorted(values.items()) if not k.startswith("GONE")]
    file.write_text("\\n".join(kept) + "\\n")
"""

# Plays scripts/config of the kernel, for the words that we use; like the original it lets sed eat backslashes and &.
_SCRIPT = """\
[ "$1" = --file ] && f=$2 && [ "$3" = --keep-case ] || exit 1
shift 3
drop() { grep -vE "^(CONFIG_$1=|# CONFIG_$1 is not set)" "$f" > "$f.swp"; mv "$f.swp" "$f"; }
while [ $# -gt 0 ]; do
    c=$1; s=$2; shift 2
    drop "$s"
    case $c in
        --enable) echo "CONFIG_$s=y" >> "$f";;
        --module) echo "CONFIG_$s=m" >> "$f";;
        --disable) echo "# CONFIG_$s is not set" >> "$f";;
        --set-val) echo "CONFIG_$s=$1" >> "$f"; shift;;
        --set-str) v=${1//[\\\\\\\\&]/}; echo "CONFIG_$s=\\"$v\\"" >> "$f"; shift;;
        --undefine) ;;
        *) echo "what is $c"; exit 1;;
    esac
done
"""


@dataclass(frozen=True)
class Place:
    tree: Path
    build: Path
    argv: list[str]

    @property
    def log(self) -> Path:
        return self.build / "build.log"

    def make(self, request: Request, env: dict[str, str] | None = None) -> config.Configured:
        return config.make_config(HostSession(), self.tree, self.build, self.argv, request, self.log, env=env)

    def calls(self) -> list[str]:
        return [line.split()[-1] for line in (self.build / "calls").read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    tree, build = tmp_path / "tree", tmp_path / "build"
    (tree / "scripts").mkdir(parents=True)
    build.mkdir()
    (tree / "make.py").write_text(_MAKE)
    (tree / "scripts/config").write_text(_SCRIPT)
    argv = [sys.executable, str(tree / "make.py"), f"O={build}", "ARCH=x86_64", "CC=ccache clang"]
    return Place(tree, build, argv)


def request_of(*asked: tuple[str, str], base_text: str = "") -> Request:
    ones = tuple(Asked(symbol, value, "f.config", i) for i, (symbol, value) in enumerate(asked, 1))
    return Request(
        "p", "path:f" if base_text else "tiny", "x86_64", "7.1.8", "" if base_text else "tinyconfig", base_text, ones
    )


def test_a_base_is_made_once_for_all_requests(place: Place) -> None:
    inputs = {"tree": "t", "toolchain": "c", "arch": "x86_64"}

    def make(*asked: tuple[str, str], **other: str) -> str:
        made = config.make_config(
            HostSession(),
            place.tree,
            place.build,
            place.argv,
            request_of(*asked),
            place.log,
            base_inputs=inputs | other,
        )
        return made.config.read_text()

    plain = place.make(request_of(("A", "n"))).config.read_text()
    assert make(("A", "n")) == plain
    assert make(("A", "n"), ("C", "m")) == plain.replace("CONFIG_S", "CONFIG_C=m\nCONFIG_S")
    assert place.calls() == ["tinyconfig", "olddefconfig", "tinyconfig", "olddefconfig", "olddefconfig"]
    make(("A", "n"), toolchain="other")
    assert place.calls()[-2:] == ["tinyconfig", "olddefconfig"]


def test_base_then_requests_then_olddefconfig(place: Place) -> None:
    request = request_of(("A", "n"), ("C", "m"), ("D", "4096"), ("64BIT", "y"), ("S", '"new one"'))
    made = place.make(request)
    assert made.changed
    assert made.warnings == ()
    assert made.config == place.build / ".config"
    assert made.config.read_text() == (
        'CONFIG_64BIT=y\n# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=4096\nCONFIG_S="new one"\n'
    )
    assert survival.compare(request, made.config.read_text()) == []
    assert place.calls() == ["tinyconfig", "olddefconfig"]
    every = (place.build / "calls").read_text().splitlines()
    assert all("ARCH=x86_64 CC=ccache clang KCONFIG_CONFIG=.config.kdf" in line for line in every)
    assert sorted(p.name for p in place.build.iterdir()) == [".config", "build.log", "calls"]
    assert "KCONFIG_WARN_UNKNOWN_SYMBOLS=1" in place.log.read_text()


def test_the_same_bytes_leave_the_file_alone(place: Place) -> None:
    request = request_of(("A", "n"))
    final = place.make(request).config
    os.utime(final, (1000, 1000))
    made = place.make(request)
    assert not made.changed
    assert final.stat().st_mtime == 1000
    assert place.make(request_of(("A", "y"))).changed
    assert final.stat().st_mtime != 1000


@pytest.mark.parametrize("text", ['say "x"', "a\\b", "a&b", '\\"', "$HOME `id` 'x' ;|", "", "ümläut"])
def test_strings_arrive_as_they_are(place: Place, text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    request = request_of(("S", quoted), ("NEW", quoted))
    assert survival.compare(request, place.make(request).config.read_text()) == []


def test_a_file_of_the_user_is_the_base(place: Place) -> None:
    made = place.make(request_of(("A", "y"), base_text="CONFIG_MINE=y"))
    assert made.config.read_text() == "CONFIG_A=y\nCONFIG_MINE=y\n"
    assert place.calls() == ["olddefconfig"]


def test_unknown_symbols_are_said_unless_our_fragments_ask_them_off(place: Place) -> None:
    request = request_of(("GONE_A", "y"), ("GONE_B", "n"), ("GONE_C", "n"))
    ours = [replace(one, file="kconfig/fragments/x.config") if one.symbol == "GONE_B" else one for one in request.asked]
    request = replace(request, asked=tuple(ours))
    made = place.make(request)
    assert len(made.warnings) == 2
    assert "unknown symbol: GONE_A" in made.warnings[0]
    assert "unknown symbol: GONE_C" in made.warnings[1], "a slip of the user's pen"
    assert [one.symbol for one in survival.compare(request, made.config.read_text())] == ["GONE_A"]


@pytest.mark.parametrize(
    ("fail", "kind", "sentence"),
    [
        ("tinyconfig:exit:*** No rule to make it", UnderTest, "make tinyconfig failed: *** No rule to make it"),
        ("olddefconfig:exit:lib/Kconfig.debug:22: syntax error", UnderTest, "lib/Kconfig.debug:22: syntax error"),
        ("olddefconfig:exit:", UnderTest, "make olddefconfig failed"),
        ("olddefconfig:kill:", InfraError, "make olddefconfig was killed by signal 9"),
        ("tinyconfig:exit:cp: No space left on device", InfraError, "the disk is full"),
        ("tinyconfig:exit:/bin/sh: 1: flex: not found", InfraError, "lacks a program: /bin/sh: 1: flex: not found"),
    ],
)
def test_failures_say_whose_fault_it_is(place: Place, fail: str, kind: type[Exception], sentence: str) -> None:
    first = place.make(request_of(("A", "n"))).config.read_text()
    with pytest.raises(kind) as error:
        place.make(request_of(("A", "y")), {"FAIL": fail})
    assert sentence in error.value.message  # type: ignore[attr-defined]
    assert error.value.log == place.log  # type: ignore[attr-defined]
    assert (place.build / ".config").read_text() == first
    assert place.make(request_of(("A", "y"))).changed, "the next run works"


def test_a_tree_without_the_script_is_under_test(place: Place) -> None:
    (place.tree / "scripts/config").unlink()
    with pytest.raises((UnderTest, InfraError), match="scripts/config"):
        place.make(request_of(("A", "n")))
