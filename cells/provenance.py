"""Write the provenance of a kernel in two formats that other tools read.

Takes a kernel of the store and the toolchain that made it. Gives `provenance.intoto.json`, an in-toto statement (v1)
with an SLSA provenance predicate (v1), and `sbom.cdx.json`, a CycloneDX 1.6 list. Never signs the files, and leaves out
what is not known.
"""

from __future__ import annotations

import platform
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core import process, store
from core.runtime import Runtime
from core.store import Product
from core.version import VERSION
from kernel import built
from kernel.built import Kernel
from toolchain import image, specs, toolchains
from toolchain.toolchains import Toolchain

STATEMENT, LIST = "provenance.intoto.json", "sbom.cdx.json"
# https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:kcov-dataflow-kit:kernel:1"
_BUILDER = "urn:kcov-dataflow-kit:builder"
# Another build does not repeat these byte for byte: the build log contains times and ccache's hits.
_NOT_REPEATED = ("build.log",)
_ROOT = Path(__file__).parent.parent


def write(folder: Path, kernel: Kernel, runtime: Runtime, started: int) -> None:
    """Write both files into the folder of a run.

    Args:
        folder: of the run.
        runtime: the runtime in which the kernel was built.
        started: when the run began, seconds since the epoch.
    """
    toolchain = toolchains.ensure(specs.spec(kernel.cell["toolchain"]), runtime, targets=(kernel.arch,))
    store.write_json(folder / STATEMENT, statement(kernel, toolchain, folder.name, started))
    store.write_text(folder / LIST, material_list(kernel, toolchain))


def revision() -> Mapping[str, str]:
    """Return the commit of this kit and whether files differ from it; empty if it is not a git checkout."""
    if not (_ROOT / ".git").exists() or not shutil.which("git"):
        return {}
    done = process.capture(["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
    commit, _, dirty = done.out.strip().partition("-")
    if done.code or not commit:
        return {}
    return {"gitCommit": commit, **({"state": "dirty"} if dirty else {})}


def files_of(kernel: Kernel) -> dict[str, str]:
    """Return name -> sha256 of a kernel's files. Modules are hashed here if the metadata lacks them (older kernels)."""
    hashes = {name: value for name, value in kernel.hashes.items() if name not in _NOT_REPEATED}
    more = {f"{built.MODULES}/{path.name}": path for path in kernel.modules}
    return hashes | {name: store.hash_file(path) for name, path in more.items() if name not in hashes}


def statement(kernel: Kernel, toolchain: Toolchain, run: str, started: int) -> dict[str, Any]:
    """Return the in-toto statement of a kernel.

    Args:
        run: name of the run's folder.
        started: when the run began, seconds since the epoch.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": value}} for name, value in sorted(files_of(kernel).items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"cell": kernel.cell},
                "internalParameters": {
                    "runtime": toolchain.runtime.name,
                    "inputs": kernel.inputs,
                    "command": kernel.command,
                },
                "resolvedDependencies": list(dependencies(kernel, toolchain)),
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"kcov-dataflow-kit": VERSION, **_machine()}},
                "metadata": {
                    "invocationId": run,
                    "startedOn": _time(started),
                    # When the kernel was finished; it may be older than the run that booted it.
                    "finishedOn": _time(kernel.made),
                },
                "byproducts": [
                    {"name": name, "digest": {"sha256": kernel.hashes[name]}}
                    for name in _NOT_REPEATED
                    if name in kernel.hashes
                ],
            },
        },
    }


def dependencies(kernel: Kernel, toolchain: Toolchain) -> Iterator[dict[str, Any]]:
    """Yield the inputs of a kernel as in-toto resource descriptors: kit, source, patches, toolchain, packages."""
    if commit := revision():
        own = {"name": "kcov-dataflow-kit", "digest": {"gitCommit": commit["gitCommit"]}}
        yield {**own, **({"annotations": {"state": commit["state"]}} if "state" in commit else {})}
    tree = store.product("tree", kernel.tree)
    source = store.product("source", tree.metadata["inputs"]["source"]) if tree else None
    if source:
        yield _source(kernel.cell["linux"], source)
    if tree:
        applied = [patch["patch"] for patch in tree.metadata["patches"]]
        for name, digest in zip(applied, tree.metadata["inputs"]["patches"], strict=True):
            yield {"name": name, "digest": {"sha256": digest}}
    manifest = toolchain.manifest
    yield {
        "name": toolchain.name,
        "uri": f"urn:kcov-dataflow-kit:toolchain:{toolchain.key}",
        "digest": {"sha256": toolchain.key},
        "annotations": {"generation": manifest.get("generation"), "versions": manifest.get("versions", {})},
    }
    yield {
        "name": f"packages of the {toolchain.runtime.name}",
        "uri": f"urn:kcov-dataflow-kit:packages:{toolchain.packages}",
        "digest": {"sha256": toolchain.packages},
    }


def _source(name: str, source: Product) -> dict[str, Any]:
    origin, inputs = source.metadata.get("origin", {}), source.metadata["inputs"]
    descriptor: dict[str, Any] = {"name": f"linux {name}", "uri": f"urn:kcov-dataflow-kit:source:{source.key}"}
    if "://" in str(origin.get("url", "")):
        descriptor["uri"] = origin["url"]
    commit = {"gitCommit": inputs["git"]} if "git" in inputs else {}
    descriptor["digest"] = commit or {"sha256": inputs.get("sha256", source.key)}
    return descriptor


def _machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def material_list(kernel: Kernel, toolchain: Toolchain) -> str:
    """Return the CycloneDX list of a kernel as JSON; the same kernel gives the same list.

    The packages of the image have the scope `excluded`: the build uses them, but the kernel does not contain them.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def component(name: str, kind: ComponentType, **more: Any) -> Component:
        return Component(name=name, type=kind, bom_ref=f"{kind.value}:{name}@{more.get('version', '')}", **more)

    def digest(value: Any) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=value["sha256"])] if "sha256" in value else []

    root = component(
        f"linux-{kernel.cell['profile']}-{kernel.cell['base']}",
        ComponentType.OPERATING_SYSTEM,
        version=kernel.release,
        properties=[Property(name=f"kdf:{axis}", value=str(value)) for axis, value in kernel.cell.items() if value],
        components=[
            component(name, ComponentType.FILE, hashes=digest({"sha256": value}))
            for name, value in sorted(files_of(kernel).items())
        ],
    )
    parts = []
    for part in dependencies(kernel, toolchain):
        if part["name"] == "kcov-dataflow-kit" or part["name"].startswith("packages of"):
            continue
        is_source, is_tool = part["name"].startswith("linux "), part["name"] == toolchain.name
        kind = ComponentType.APPLICATION if is_tool else ComponentType.FILE
        kind = ComponentType.OPERATING_SYSTEM if is_source else kind
        more: dict[str, Any] = {"scope": ComponentScope.EXCLUDED} if is_tool else {}
        if is_source:
            more["version"] = kernel.release
        parts.append(component(part["name"], kind, hashes=digest(part["digest"]), **more))
    for line in image.package_list(toolchain.packages):
        name, _, rest = line.partition("=")
        version, _, arch = rest.rpartition(":")
        purl = PackageURL("deb", "debian", name, version, {"arch": arch} if arch else None)
        parts.append(
            component(
                f"{name}:{arch}", ComponentType.LIBRARY, version=version, purl=purl, scope=ComponentScope.EXCLUDED
            )
        )
    bom = Bom(
        components=parts,
        serial_number=uuid.UUID(kernel.key[:32]),
        metadata=BomMetaData(
            component=root,
            tools=ToolRepository(
                components=[component("kcov-dataflow-kit", ComponentType.APPLICATION, version=VERSION)]
            ),
        ),
    )
    bom.metadata.timestamp = _moment(kernel.made)
    bom.register_dependency(root, parts)
    return str(JsonV1Dot6(bom).output_as_string(indent=1)) + "\n"


def _moment(seconds: int) -> Any:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
