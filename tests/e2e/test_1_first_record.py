"""From a bare machine to verified records: the tiny base, real source, real patches, real compile, real boot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.user import FIRST_RECORD, ROOT, Said, invoke

pytestmark = pytest.mark.e2e

ALL = ("kernel.run", "--profile", "all", "--base", "tiny", "--json")
# What must be true of the first records; result.json has these names.
ASKED = (
    *FIRST_RECORD,
    "getpid: records",
    "open-close: records",
    "open-close: every pc is an instrumented function's start",
    "fork: do_sys_openat2 got the drawn mode",
    "fork: dropped",
)


def verified(said: Said) -> dict[str, object]:
    """The result of a run that must have passed."""
    assert said.code == 0, said.err
    result = said.json()
    assert result["status"] == "passed"
    held = {c["name"]: c["ok"] for c in result["checks"]}
    assert all(held.values())
    for name in ASKED:
        assert held.get(name) is True, name
    assert any(name.startswith("overflow: records + dropped") for name in held)
    import jsonschema

    jsonschema.validate(result, json.loads((ROOT / "docs" / "result.schema.json").read_text()))
    assert result == json.loads((Path(result["folder"]) / "result.json").read_text())
    return result


def test_all_on_tiny_in_docker() -> None:
    result = verified(invoke(*ALL, "--runtime", "docker"))
    assert result["runtime"] == "docker"


def test_the_second_call_makes_nothing_anew() -> None:
    first = verified(invoke(*ALL, "--runtime", "docker"))
    made = json.loads((Path(first["facts"]["kernel"]) / "metadata.json").read_text())["made"]
    second = verified(invoke(*ALL, "--runtime", "docker"))
    assert second["facts"]["kernel"] == first["facts"]["kernel"]
    assert json.loads((Path(second["facts"]["kernel"]) / "metadata.json").read_text())["made"] == made
    assert second["facts"]["seed"] != first["facts"]["seed"]
    # Two boots of one kernel: what the workload does itself is recorded alike, whatever was drawn.
    told = invoke("dataflow.compare", str(first["folder"]), str(second["folder"]), "--json")
    assert told.code == 0, told.err
    found = told.json()
    assert found["common"] > 50
    assert "do_sys_openat2" not in {one["function"] for one in found["differences"]}


def test_records_are_shown_as_a_call_tree() -> None:
    shown = invoke("dataflow.show", "--workload", "open-close", "--filter", "do_sys_openat2")
    assert shown.code == 0, shown.err
    first = shown.out.splitlines()[0]
    assert first.startswith("do_sys_openat2(dfd=-100, filename=0x")
    assert "how={flags=0x" in first
    assert "resolve=0}) = " in first
    as_json = invoke("dataflow.show", "--workload", "open-close", "--filter", "do_sys_openat2", "--json")
    top = json.loads(as_json.out.splitlines()[0])
    assert top["function"] == "do_sys_openat2"
    assert [a["name"] for a in top["arguments"]] == ["dfd", "filename", "how"]


def test_the_control_has_no_device_and_is_no_empty_success() -> None:
    said = invoke("kernel.run", "--profile", "none", "--base", "tiny", "--runtime", "docker")
    assert said.code == 1
    assert "this kernel has no kcov_dataflow device" in said.err
    boot = invoke("guest.boot", "--profile", "none", "--base", "tiny", "--runtime", "docker", "--json")
    assert boot.code == 0, boot.err
    assert boot.json()["status"] == "passed"
    assert boot.json()["facts"]["device"] is False
    kept = json.loads((Path(boot.json()["folder"]) / "result.json").read_text())
    assert kept == boot.json()
    assert [one["ok"] for one in kept["checks"]] == [True]


def test_only_listed_objects_are_instrumented() -> None:
    from dataflow import sites, symbols

    said = invoke(
        "kernel.build", "--profile", "dataflow", "--base", "tiny", "--instrument", "fs/open.o,fs/ramfs/", "--json",
        "--runtime", "docker",
    )  # fmt: skip
    assert said.code == 0, said.err
    folder = Path(said.json()["path"])
    names = symbols.read(folder / "System.map")
    calling = {names.label(int(a)) for a in sites.load(folder / "vmlinux", names).instrumented()}
    assert {"do_sys_openat2", "ramfs_get_inode"} <= calling
    assert not {"vfs_read", "__x64_sys_getpid", "do_filp_open", "kmem_cache_alloc_noprof"} & calling


def test_a_program_of_the_user(tmp_path: Path) -> None:
    source = tmp_path / "prog.c"
    source.write_text(
        "#include <fcntl.h>\n#include <stdio.h>\n"
        "int main(int c, char **v) {\n"
        '  int fd = open(v[1], O_CREAT | O_WRONLY, 04631);\n  printf("%d\\n", fd);\n  return c - 2;\n}\n'
    )
    subprocess.run(["gcc", "-static", "-O1", "-o", str(tmp_path / "prog"), str(source)], check=True)
    said = invoke(
        "dataflow.capture", "--exec", f"{tmp_path / 'prog'} /tmp/mine", "--filter", "do_sys_openat2", "--json",
        "--runtime", "docker",
    )  # fmt: skip
    assert said.code == 0, said.err
    top = said.json()["calls"][0]
    assert top["function"] == "do_sys_openat2"
    assert "mode=04631" in top["arguments"][2]["text"]
    refused = invoke("dataflow.capture", "--exec", "/bin/ls")
    assert refused.code == 2
    assert "link it statically" in refused.err


def test_a_compiler_without_the_pass_is_refused_before_configuring() -> None:
    said = invoke(
        "kernel.build", "--profile", "all", "--base", "tiny", "--toolchain", "stock-19", "--runtime", "docker"
    )
    assert said.code == 2
    assert "a stock clang without the dataflow pass" in said.err
    lost = invoke("kconfig.check", "all", "--base", "tiny", "--toolchain", "stock-19", "--runtime", "docker")
    assert lost.code == 1
    assert "CONFIG_KCOV_DATAFLOW_ARGS: asked y" in lost.err
    # The test that failed was run again, and what the compiler said is told.
    assert "unsupported argument 'dataflow-args' to option '-fsanitize-coverage='" in lost.err


def test_wrong_requests_are_the_users_error() -> None:
    for words, said in (
        (["kernel.build", "--profile", "al", "--base", "tiny"], "did you mean all?"),
        (["kernel.build", "--profile", "all", "--base", "tyni"], "did you mean tiny?"),
        (["kernel.build", "--profile", "all", "--series", "kitt"], "did you mean kit?"),
        (["kernel.build", "--profile", "all", "--toolchain", "plugin-91"], "did you mean plugin-19?"),
        (["kernel.build", "--profile", "all", "--arch", "arm46"], "did you mean arm64?"),
        (["kernel.build", "--profile", "all", "--linux", "7.1.9"], "7.1.8"),
        (["kernel.build", "--profile", "all", "--runtime", "dokcer"], "did you mean docker?"),
        (["kernel.build"], "name a profile"),
    ):
        done = invoke(*words)
        assert done.code == 2, (words, done.err)
        assert said in done.err, (words, done.err)
