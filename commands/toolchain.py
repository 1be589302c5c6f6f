"""Tasks toolchain.*: build, list, verify and share compilers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commands.cells import Asked, cell_command
from commands.tables import human_size, print_json, print_table
from commands.task import command

_BUILT = {"name": "toolchain of toolchain.list"}


def _effort(facts: Mapping[str, Any]) -> str:
    """Return what compiling from source took; the time of a killed call is not known."""
    return (
        f"which took {facts['last_wall_seconds']:.0f} s; {facts['cpu_seconds']:.0f} s of CPU without killed calls, "
        f"{facts['jobs']} jobs, largest process {human_size(facts['largest_process'])}"
    )


@command(
    help={
        **_BUILT,
        "targets": "further architectures to compile for, with commas (patched toolchains only)",
        "lto": "link-time optimization: thin (patched toolchains only)",
        "pgo": "optimize by a profile of compiling the tiny kernel, in three builds (patched toolchains only)",
        "from": "directory or http address that toolchain.export filled; look there before building",
    }
)
def build(
    _c: Any,
    name: str = "",
    runtime: str = "auto",
    targets: str = "",
    lto: str = "",
    pgo: bool = False,
    from_: str = "",
    no_install: bool = False,
) -> None:
    """Build a toolchain, or find it in the store. Example: ./invoke toolchain.build --name plugin-19"""
    from core import store
    from core.runtime import choose
    from toolchain import specs, toolchains

    chosen = choose(runtime, install=not no_install)
    wanted = tuple(word for word in targets.split(",") if word)
    named = name or specs.load()[1][0]
    profile = None
    if pgo:
        from kernel import train
        from toolchain import training

        trained = train.profile(named, chosen)
        profile = trained.path / training.FILE
        print(
            f"profile of {trained.metadata['functions']:,} functions: {trained.metadata['objects']} objects, "
            f"{trained.metadata['cpu_seconds']:.0f} s of CPU"
        )
    made = toolchains.ensure(specs.spec(named), chosen, targets=wanted, lto=lto, profile=profile, shared=from_)
    compiled = made.product.metadata.get("build")
    took = "" if compiled else f"made in {made.product.metadata['seconds']} s, "
    print(
        f"{made.name}: {made.manifest['versions']['clang']}, callback generation {made.generation or 'none'}, "
        f"runtime {chosen.name}, {took}{human_size(store.size_of(made.product.path))}"
    )
    if compiled:
        print(f"LLVM: {compiled['steps']} steps, {compiled['steps_run']} of them in the last call, {_effort(compiled)}")
    rustc = made.product.metadata.get("rustc")
    if rustc and "crates" in rustc:
        print(f"{made.manifest['versions']['rustc']}: {rustc['crates']} crates in the last call, {_effort(rustc)}")
    print(made.product.path)


@command(name="list")
def list_(_c: Any, json: bool = False) -> None:
    """List the toolchains and where they are built. Example: ./invoke toolchain.list"""
    from core import store
    from core.runtime import Runtime
    from toolchain import specs
    from toolchain.toolchains import Toolchain

    rows: list[dict[str, Any]] = []
    products = [product for product in store.products() if product.kind == "toolchain"]
    for spec in specs.load()[0].values():
        mine = [product for product in products if product.metadata["inputs"].get("name") == spec.name]
        for product in mine:
            runtime = Runtime(product.metadata["inputs"]["runtime"])
            rows.append(
                {
                    "name": spec.name,
                    "kind": spec.kind,
                    "llvm": spec.llvm,
                    "runtime": runtime.name,
                    "built": "imported" if "imported" in product.metadata else "here",
                    "generation": Toolchain(spec.name, product, runtime, None, "").generation or "none",
                    "size": human_size(store.size_of(product.path)),
                    "bytes": store.size_of(product.path),
                    "key": product.key if json else product.key[:12],
                    "path": str(product.path),
                    "about": spec.about,
                }
            )
        if not mine:
            rows.append({"name": spec.name, "kind": spec.kind, "llvm": spec.llvm, "built": "no", "about": spec.about})
    if json:
        print_json(rows)
    else:
        print_table(rows, ("name", "kind", "llvm", "built", "runtime", "generation", "size", "key", "about"))


@command(help=_BUILT, positional=["name"])
def path(_c: Any, name: str, runtime: str = "auto") -> None:
    """Print the directory of a built toolchain, for make LLVM=DIR/bin/. Example: ./invoke toolchain.path llvm-23"""
    from kernel.placement import of_toolchain
    from toolchain import share

    print(share.built(name, of_toolchain(name, runtime)).path)


@command(
    short={"command": "c"},
    help={**_BUILT, "command": "command to run instead of a shell; it may also stand after --"},
    positional=["name"],
)
def shell(c: Any, name: str, runtime: str = "auto", command: str = "") -> None:
    """Open a shell with a toolchain in PATH. Example: ./invoke toolchain.shell plugin-19 -c "clang --version" """
    from invoke.exceptions import Exit

    from kernel.placement import of_toolchain
    from toolchain.shell import enter

    code = enter(name, of_toolchain(name, runtime), command or c.remainder)
    if code:
        raise Exit(code=code)


@command(
    short={"output": "o"},
    help={
        **_BUILT,
        "output": "FILE.tar.zst, or a directory for toolchain.build --from, in which the file is named by its key",
    },
    positional=["name"],
)
def export(_c: Any, name: str, output: str = "", runtime: str = "auto", json: bool = False) -> None:
    """Write a built toolchain to a file. Example: ./invoke toolchain.export plugin-19 -o plugin-19.tar.zst"""
    from dataclasses import asdict
    from pathlib import Path

    from core.errors import UserError
    from kernel.placement import of_toolchain
    from toolchain import share

    if not output:
        raise UserError("no output is named", "use -o FILE.tar.zst or -o DIR")
    done = share.export(share.built(name, of_toolchain(name, runtime)), Path(output))
    if json:
        print_json(asdict(done))
        return
    print(f"{done.path}: {done.files} files, {human_size(done.unpacked)} in {human_size(done.size)}")
    print(f"sha256 {done.sha256}")


@command(
    name="import",
    help={"file": "file that toolchain.export wrote"},
    positional=["file"],
)
def import_(_c: Any, file: str, no_install: bool = False, json: bool = False) -> None:
    """Read a toolchain from a file into the store. Example: ./invoke toolchain.import plugin-19.tar.zst"""
    from pathlib import Path

    from toolchain import share

    done = share.load(Path(file), install=not no_install)
    if json:
        print_json(
            {"name": done.name, "runtime": done.runtime, "path": str(done.product.path), "key": done.product.key,
             "new": done.new, "stale": done.stale}
        )  # fmt: skip
        return
    print(f"{done.name}, runtime {done.runtime}: {'imported' if done.new else 'the store has it already'}")
    if done.stale:
        print(f"note: toolchain.build here would make another one, this checkout differs in {done.stale}")
    print(done.product.path)


@command(
    help={
        "left": "directory of a product, or the first digits of its key",
        "right": "the other product",
    },
    positional=["left", "right"],
)
def compare(_c: Any, left: str, right: str, json: bool = False) -> None:
    """Compare two built toolchains file by file. Example: ./invoke toolchain.compare 48016888 4a8ffd2b"""
    from dataclasses import asdict

    from core.errors import UnderTest
    from toolchain import reproduce

    result = reproduce.compare(reproduce.find(left), reproduce.find(right))
    if json:
        print_json(asdict(result))
    else:
        print_table([asdict(difference) for difference in result.differences], ("name", "reason", "matters"))
        print(f"{result.compared} entries compared, {len(result.differences)} differ")
    if any(difference.matters for difference in result.differences):
        raise UnderTest("the two toolchains are not the same", "the table names what differs")


@command(help=_BUILT, positional=["name"])
def verify(_c: Any, name: str, runtime: str = "auto", no_install: bool = False, json: bool = False) -> None:
    """Compile and run a corpus, and compare every reported value. Example: ./invoke toolchain.verify plugin-19"""
    from dataclasses import asdict

    from core import store
    from core.runtime import Mount
    from kernel.placement import of_toolchain
    from toolchain import acceptance, irtests, specs, toolchains
    from toolchain.verify import require_addresses

    require_addresses(specs.spec(name))
    made = toolchains.ensure(specs.spec(name), of_toolchain(name, runtime, install=not no_install))
    label = f"verify-{made.name}-{made.runtime.name}"
    work = store.home() / "runs" / label
    with store.lock(label):
        store.remove_tree(work)
        work.mkdir(parents=True)
        log = work / "verify.log"
        patched = specs.spec(name).kind == "patched"
        mounts = [Mount(work, "/kdf/run", writable=True), *([irtests.mount()] if patched else [])]
        with toolchains.open_session(made, mounts) as session:
            tests = irtests.run(session, made.product.path, work, log) if patched else []
            if patched:
                irtests.require(tests, log)
            generation = specs.spec(name).generation
            result = acceptance.check(session, made.product.path, work, generation=generation, log=log)
    if json:
        print_json({**result.as_json(), "ir_tests": {test.name: test.code for test in tests}})
        return
    for test in tests:
        print(f"{test.code}  {test.name}")
    print_table(
        [{"case": name, **asdict(tally)} for name, tally in [*result.cases.items(), ("total", result.total)]],
        ("case", "functions", "equal", "removed", "wrong"),
    )
    print(f"{made.name}, {made.manifest['versions']['clang']}, modes {', '.join(result.modes)}: none is wrong")


@command(name="image", help=_BUILT, positional=["name"])
def image_(_c: Any, name: str, runtime: str = "docker", no_install: bool = False, json: bool = False) -> None:
    """Make a Docker image in which `make LLVM=1` uses the toolchain. Example: ./invoke toolchain.image plugin-19"""
    from dataclasses import asdict

    from core.runtime import choose
    from toolchain import publish, specs, toolchains

    made = publish.publish(toolchains.ensure(specs.spec(name), choose(runtime, install=not no_install)))
    if json:
        print_json(asdict(made))
        return
    print(f"{made.tag}  {'made now' if made.new else 'there already'}, {human_size(made.size)}")
    print(
        f'use it: docker run --rm -u "$(id -u):$(id -g)" -v LINUX:/src -w /src {made.tag} make LLVM=1 defconfig vmlinux'
    )


@cell_command(
    defaults={"profile": "all", "base": "tiny", "toolchain": "llvm-23"},
    without=("no_guard",),
    folders="directories of the kernel, with commas; all if none is given",
)
def parity(_c: Any, asked: Asked, folders: str = "") -> None:
    """Compare the pass built in with the plugin. Example: ./invoke toolchain.parity --folders kernel,fs,mm"""
    from core.errors import UnderTest
    from kernel.parity import check

    chosen = [word for word in folders.split(",") if word]
    result = check(asked.cell, asked.runtime, chosen)
    if asked.json:
        print_json(result.as_json())
    else:
        print(
            f"{result.files} files ({result.identical} with the same bytes), {result.functions} functions with "
            f"{result.calls} calls, {len(result.differences)} differences"
        )
    if result.differences:
        raise UnderTest("\n  ".join(["the pass built in and the plugin differ:", *result.differences[:20]]))
