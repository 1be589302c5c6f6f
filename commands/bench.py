"""Tasks bench.*: measure, each figure as a ratio to a baseline of the same run."""

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
    """Time how a million words are decoded and symbolised. Example: ./invoke bench.decode"""
    from bench import decode

    _require("decode", decode.main([]))


@command()
def survival(_c: Any) -> None:
    """Time the comparison of a request with a configuration of 12,000 lines. Example: ./invoke bench.survival"""
    from bench import survival

    _require("survival", survival.main())


@command(
    help={
        "rounds": "number of measurements of each",
    }
)
def configure(_c: Any, profile: str = "kasan-all", base: str = "defconfig", arch: str = "", rounds: int = 5) -> None:
    """Measure what kconfig.check takes in addition to olddefconfig. Example: ./invoke bench.configure --arch arm64"""
    from bench import configure

    words = ["--profile", profile, "--base", base, "--rounds", str(rounds)]
    _require("configure", configure.main([*words, *(["--arch", arch] if arch else [])]))


@command()
def front(_c: Any) -> None:
    """Measure what the front program adds to a compiler call. Example: ./invoke bench.front"""
    from bench import front

    _require("front", front.main())


@command(
    help={
        "parts": "parts, with commas: same, steps, rebuild, warm, kernel, faster, cold; by default the first four",
        "unpatched": "directory with bin/clang of the same LLVM without our patches; the part kernel needs it",
    }
)
def toolchain(_c: Any, parts: str = "", unpatched: str = "") -> None:
    """Measure what a compiler from source costs. Example: ./invoke bench.toolchain --parts same,steps"""
    from bench import toolchain

    words = (("--parts", parts), ("--unpatched", unpatched))
    _require("toolchain", toolchain.main([word for option, value in words if value for word in (option, value)]))


@command()
def matrix(_c: Any) -> None:
    """Measure what ci.run costs compared with one build; takes half an hour. Example: ./invoke bench.matrix"""
    from bench import matrix

    _require("matrix", matrix.main())


@cell_command(
    # The control is the template of the cells: `profiles` names those that are measured.
    defaults={"profile": "none", "base": "tiny"},
    without=("profile", "no_guard"),
    profiles="profiles to measure, with commas; none must be one of them",
    rounds="number of wall-time measurements of each profile; 0 for none",
    beside="other callback generations, each in a column of its own: PROFILE:SERIES:TOOLCHAIN, with commas",
    check="exit with 1 if the columns of --beside miss a target of bench/targets.yaml; without --beside, the others",
)
def rfc(
    _c: Any,
    asked: Asked,
    profiles: str = "none,dataflow,all,kasan,kasan-all",
    rounds: int = 7,
    beside: str = "",
    check: bool = False,
) -> None:
    """Measure the figures of the RFC's table. Example: ./invoke bench.rfc --base tiny --profiles none,all"""
    from dataclasses import replace

    from bench import rfc, targets
    from commands.tables import print_json
    from kernel.cell import resolve

    wanted = {name: asked.cell.with_profile(name) for name in profiles.split(",")}
    wanted |= {name: resolve(names) for name, names in rfc.beside(beside, asked.cell.names).items()}
    wishes = targets.targets() if check else []
    runtime = replace(asked.runtime, say=lambda _line: None) if asked.json else asked.runtime
    table = rfc.run(wanted, runtime, rounds=rounds)
    answers = targets.answers(table, wishes)
    if asked.json:
        print_json({**table.as_json(), **({"targets": [answer.as_json() for answer in answers]} if check else {})})
    else:
        names = asked.cell.names
        print(f"{table.machine}; series {names.series}, toolchain {names.toolchain}, base {names.base}")
        print(rfc.markdown(table))
        for answer in answers:
            print(answer)
        print(table.folder / rfc.RESULT)
    rfc.require_agreement(table.differ, table.folder)
    targets.require(answers)


@command(
    help={
        "places": "BASE/ARCH of bench/targets.yaml, with commas; all if none is named",
    }
)
def idle(_c: Any, places: str = "", runtime: str = "auto", no_install: bool = False, json: bool = False) -> None:
    """Measure what a kernel costs while no task records. Example: ./invoke bench.idle --places tiny/x86_64"""
    from dataclasses import replace

    from bench import idle, rfc, targets
    from commands.tables import print_json
    from core.runtime import choose

    measure = idle.load()
    wanted = idle.chosen(places, measure.places)
    chosen = choose(runtime, install=not no_install)
    chosen = replace(chosen, say=lambda _line: None) if json else chosen
    results, folder = idle.run(measure, wanted, chosen)
    if json:
        print_json([result.as_json() for result in results])
    else:
        print(idle.markdown(results))
        print(folder / idle.RESULT)
    rfc.require_agreement([f"{result.place} {what}" for result in results for what in result.table.differ], folder)
    targets.require([answer for result in results for answer in result.answers])


@cell_command(
    defaults={"profile": "all", "base": "tiny"},
    without=("no_guard",),
    update="write the counts into bench/gate.yaml and compare nothing",
)
def gate(_c: Any, asked: Asked, update: bool = False) -> None:
    """Fail if the kernel became slower than the committed instruction counts. Example: ./invoke bench.gate"""
    from bench import gate
    from commands.tables import print_json

    gated = gate.run(asked.cell, asked.runtime, update=update)
    if asked.json:
        print_json({"same": gated.same, "slower": [str(o) for o in gated.slower], "folder": str(gated.folder)})
    else:
        print(
            f"boot {gated.now.counts.boot:,} instructions, {gated.now.counts.boot / gated.now.control.boot:.4f} of none"
        )
        for name, value in gated.now.counts.loops.items():
            print(f"{name} {value:,.1f} instructions, {value / gated.now.control.loops[name]:.4f} of none")
        basis = (
            "counts, to the digit before init"
            if gated.same
            else "ratios to none: another compiler, configuration or QEMU"
        )
        print("written to bench/gate.yaml" if update else f"compared: {basis}")
        for figure in gated.faster:
            print(f"faster: {figure}")
    gated.require()
