"""The root of all tasks: each collection is a module of `commands`, which only parses arguments and prints."""

from invoke.collection import Collection

from commands import (
    bench,
    cell,
    ci,
    dataflow,
    doctor,
    guest,
    kconfig,
    kconfig_why,
    kernel,
    patches,
    report,
    sources,
    store,
    test,
    test_run,
    toolchain,
)

ns = Collection()
for _module in (
    doctor, sources, toolchain, patches, kconfig, kernel, guest, dataflow, store, test, bench, report, ci, cell,
):  # fmt: skip
    ns.add_collection(Collection.from_module(_module), name=_module.__name__.rpartition(".")[2])
ns.collections["kconfig"].add_task(kconfig_why.why)
ns.collections["test"].add_task(test_run.run)
