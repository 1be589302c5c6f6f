"""invoke bench.*: measurements, as ratios to a baseline of the same run."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command
from commands.task import command


def _require(name: str, code: int) -> None:
    """Raise unless a benchmark met its targets.

    Raises:
        UnderTest: it missed one; its output names it.
    """
    from core.errors import UnderTest

    if code:
        raise UnderTest(f"the benchmark {name} missed a target", "read what it printed above")


@command()
def decode(_c: Any) -> None:
    """Decode and symbolise a million words. Example: ./invoke bench.decode"""
    from bench import decode

    _require("decode", decode.main([]))


@command()
def survival(_c: Any) -> None:
    """Compare a request with a configuration of 12,000 lines. Example: ./invoke bench.survival"""
    from bench import survival

    _require("survival", survival.main())


@command(
    help={
        "rounds": "how many times each is measured",
    }
)
def configure(_c: Any, profile: str = "kasan-all", base: str = "defconfig", arch: str = "", rounds: int = 5) -> None:
    """What kconfig.check takes beside olddefconfig. Example: ./invoke bench.configure --arch arm64"""
    from bench import configure

    words = ["--profile", profile, "--base", base, "--rounds", str(rounds)]
    _require("configure", configure.main([*words, *(["--arch", arch] if arch else [])]))


@command()
def front(_c: Any) -> None:
    """What the front program costs per compiler call. Example: ./invoke bench.front"""
    from bench import front

    _require("front", front.main())


@command(
    help={
        "parts": "of same, steps, rebuild, warm, kernel, faster, cold; the first four if none is named",
        "unpatched": "directory with bin/clang of the same LLVM without our patches, for the part kernel",
    }
)
def toolchain(_c: Any, parts: str = "", unpatched: str = "") -> None:
    """What a compiler from source costs. Example: ./invoke bench.toolchain --parts same,steps"""
    from bench import toolchain

    words = (("--parts", parts), ("--unpatched", unpatched))
    _require("toolchain", toolchain.main([word for option, value in words if value for word in (option, value)]))


@command()
def matrix(_c: Any) -> None:
    """What ci.run costs over one build, in half an hour. Example: ./invoke bench.matrix"""
    from bench import matrix

    _require("matrix", matrix.main())


@cell_command(
    # The control is the template of the cells: `profiles` names those that are measured.
    defaults={"profile": "none", "base": "tiny"},
    without=("profile", "no_guard"),
    profiles="profiles with commas between; none must be among them",
    rounds="how many times wall times are taken of each; 0 for none",
    beside="other generations in columns of their own: PROFILE:SERIES:TOOLCHAIN with commas between",
    check="end with 1 if what stands beside (or what is asked, if nothing does) misses a target of bench/targets.yaml",
)
def rfc(
    _c: Any,
    asked: Asked,
    profiles: str = "none,dataflow,all,kasan,kasan-all",
    rounds: int = 7,
    beside: str = "",
    check: bool = False,
) -> None:
    """Measure what the RFC's table says. Example: ./invoke bench.rfc --base tiny --profiles none,all"""
    from dataclasses import replace

    from bench import rfc, targets
    from commands.tables import print_json
    from kernel.cell import resolve

    wanted = {name: asked.cell.with_profile(name) for name in profiles.split(",")}
    wanted |= {name: resolve(names) for name, names in rfc.beside(beside, asked.cell.names).items()}
    wishes = targets.targets() if check else []
    runtime = replace(asked.runtime, say=lambda _line: None) if asked.json else asked.runtime
    found = rfc.run(wanted, runtime, rounds=rounds)
    answers = targets.answers(found, wishes)
    if asked.json:
        print_json({**found.as_json(), **({"targets": [one.as_json() for one in answers]} if check else {})})
    else:
        names = asked.cell.names
        print(f"{found.machine}; series {names.series}, toolchain {names.toolchain}, base {names.base}")
        print(rfc.markdown(found))
        for one in answers:
            print(one)
        print(found.folder / rfc.RESULT)
    rfc.require_agreement(found.differ, found.folder)
    targets.require(answers)


@command(
    help={
        "places": "of bench/targets.yaml, BASE/ARCH with commas between; all if none is named",
    }
)
def idle(_c: Any, places: str = "", runtime: str = "auto", no_install: bool = False, json: bool = False) -> None:
    """What a kernel costs while nobody records, beside L0. Example: ./invoke bench.idle --places tiny/x86_64"""
    from dataclasses import replace

    from bench import idle, rfc, targets
    from commands.tables import print_json
    from core.runtime import choose

    measure = idle.load()
    wanted = idle.chosen(places, measure.places)
    chosen = choose(runtime, install=not no_install)
    chosen = replace(chosen, say=lambda _line: None) if json else chosen
    found, folder = idle.run(measure, wanted, chosen)
    if json:
        print_json([one.as_json() for one in found])
    else:
        print(idle.markdown(found))
        print(folder / idle.RESULT)
    rfc.require_agreement([f"{one.place} {what}" for one in found for what in one.table.differ], folder)
    targets.require([answer for one in found for answer in one.answers])


@cell_command(
    defaults={"profile": "all", "base": "tiny"},
    without=("no_guard",),
    update="write what is measured into bench/gate.yaml, and compare nothing",
)
def gate(_c: Any, asked: Asked, update: bool = False) -> None:
    """Has a change made the kernel slower? By instruction counts. Example: ./invoke bench.gate"""
    from bench import gate
    from commands.tables import print_json

    found = gate.run(asked.cell, asked.runtime, update=update)
    if asked.json:
        print_json({"same": found.same, "slower": [str(o) for o in found.slower], "folder": str(found.folder)})
    else:
        print(
            f"boot {found.now.counts.boot:,} instructions, {found.now.counts.boot / found.now.control.boot:.4f} of none"
        )
        for name, value in found.now.counts.loops.items():
            print(f"{name} {value:,.1f} instructions, {value / found.now.control.loops[name]:.4f} of none")
        said = (
            "counts, to the digit before init"
            if found.same
            else "ratios to none: another compiler, configuration or QEMU"
        )
        print("written to bench/gate.yaml" if update else f"compared: {said}")
        for one in found.faster:
            print(f"faster: {one}")
    found.require()
