"""invoke toolchain.*: build, list and verify compilers."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command
from commands.common import CELL_HELP, RUNTIME_HELP, human_size, print_json, print_table
from core.program import command

_HELP = {"name": "a toolchain of toolchains.yaml", "runtime": RUNTIME_HELP, "no_install": CELL_HELP["no_install"]}


@command(
    help={
        **_HELP,
        "targets": "architectures to compile for besides this machine's, with commas (a patched toolchain)",
        "lto": "link-time optimization: thin (a patched toolchain)",
    }
)
def build(
    _c: Any, name: str = "", runtime: str = "auto", targets: str = "", lto: str = "", no_install: bool = False
) -> None:
    """Build a toolchain, or find it in the store. Example: ./invoke toolchain.build --name plugin-19"""
    from core import store
    from core.runtime import choose
    from toolchain import build as toolchains
    from toolchain import names

    where = choose(runtime)
    wanted = tuple(word for word in targets.split(",") if word)
    named = name or names.load()[1][0]
    made = toolchains.ensure(named, where, install=not no_install, targets=wanted, lto=lto)
    print(
        f"{made.name}: {made.manifest['versions']['clang']}, callback generation {made.generation or 'none'}, "
        f"runtime {where}, made in {made.product.metadata['seconds']} s, {human_size(store.size_of(made.product.path))}"
    )
    facts = made.product.metadata.get("build")
    if facts:
        print(
            f"{facts['steps']} steps ({facts['steps_run']} run in the last of {facts['runs']}), {facts['jobs']} jobs, "
            f"{facts['cpu_seconds']:.0f} s of CPU, largest process {human_size(facts['largest_process'])}"
        )
    print(made.product.path)


@command(name="list", help={"json": CELL_HELP["json"]})
def list_(_c: Any, json: bool = False) -> None:
    """List the toolchains and where they are built. Example: ./invoke toolchain.list"""
    from core import store
    from toolchain import names

    built: dict[str, list[str]] = {}
    for product in store.products():
        if product.kind == "toolchain":
            inputs = product.metadata["inputs"]
            built.setdefault(inputs["name"], []).append(f"{inputs['runtime']}:{product.key[:12]}")
    rows = [
        {"name": s.name, "kind": s.kind, "llvm": s.llvm, "built": " ".join(built.get(s.name, [])), "about": s.about}
        for s in names.load()[0].values()
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("name", "kind", "llvm", "built", "about"))


@command(help={**_HELP, "json": CELL_HELP["json"]}, positional=["name"])
def verify(_c: Any, name: str, runtime: str = "auto", no_install: bool = False, json: bool = False) -> None:
    """Compile and run a corpus, compare what the callbacks got. Example: ./invoke toolchain.verify plugin-19"""
    from dataclasses import asdict

    from core import store
    from core.runtime import Mount, choose
    from toolchain import build as toolchains
    from toolchain import irtests, names
    from toolchain import verify as corpus

    where = choose(runtime)
    made = toolchains.ensure(name, where, install=not no_install)
    work = store.home() / "runs" / f"verify-{made.name}-{where}"
    with store.lock(f"verify-{made.name}-{where}"):
        store.remove_tree(work)
        work.mkdir(parents=True)
        log = work / "verify.log"
        patched = names.spec(name).kind == "patched"
        mounts = [Mount(work, "/kdf/run", writable=True), *([irtests.mount()] if patched else [])]
        with toolchains.open_session(made, mounts) as session:
            tests = irtests.run(session, made.product.path, work, log) if patched else []
            if patched:
                irtests.require(tests, log)
            result = corpus.check(session, made.product.path, work, log=log)
    if json:
        print_json({**result.as_json(), "ir_tests": {one.name: one.code for one in tests}})
        return
    for one in tests:
        print(f"{one.code}  {one.name}")
    print_table(
        [{"case": name, **asdict(tally)} for name, tally in [*result.cases.items(), ("total", result.total)]],
        ("case", "functions", "equal", "removed", "wrong"),
    )
    print(f"{made.name}, {made.manifest['versions']['clang']}, modes {', '.join(result.modes)}: none is wrong")


@command(name="image", help={**_HELP, "json": CELL_HELP["json"]}, positional=["name"])
def image_(_c: Any, name: str, runtime: str = "docker", no_install: bool = False, json: bool = False) -> None:
    """Tag a Docker image in which `make LLVM=1` takes the toolchain. Example: ./invoke toolchain.image plugin-19"""
    from dataclasses import asdict

    from core.runtime import choose
    from toolchain import build as toolchains
    from toolchain import publish

    made = publish.publish(toolchains.ensure(name, choose(runtime), install=not no_install))
    if json:
        print_json(asdict(made))
        return
    print(f"{made.tag}  {'made now' if made.new else 'there already'}, {human_size(made.size)}")
    print(
        f'use it: docker run --rm -u "$(id -u):$(id -g)" -v LINUX:/src -w /src {made.tag} make LLVM=1 defconfig vmlinux'
    )


@cell_command(
    defaults={"profile": "all", "base": "tiny", "toolchain": "llvm-23"},
    folders="directories of the kernel, with commas; all by default",
)
def parity(_c: Any, asked: Asked, folders: str = "") -> None:
    """Compare the pass built in with the plugin. Example: ./invoke toolchain.parity --folders kernel,fs,mm"""
    from core.errors import UnderTest
    from kernel import parity as comparing

    chosen = [word for word in folders.split(",") if word]
    found = comparing.check(asked.cell, asked.where, chosen, install=asked.install)
    if asked.json:
        print_json(found.as_json())
    else:
        print(
            f"{found.files} files ({found.identical} with the same bytes), {found.functions} functions with "
            f"{found.calls} calls, {len(found.differences)} differences"
        )
    if found.differences:
        raise UnderTest("\n  ".join(["the pass built in and the plugin differ:", *found.differences[:20]]))
