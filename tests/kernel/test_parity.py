"""What parity compares: callbacks per function, sizes and tables, and bytes that the kernel loads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from core.errors import UnderTest
from kernel import parity

IR = """
@__kcov_dataflow_fields = private unnamed_addr constant [3 x i64] [i64 9, i64 0, i64 4], align 8
@__kcov_dataflow_fields.1 = private unnamed_addr constant [3 x i64] [i64 7, i64 0, i64 8], align 8
define dso_local i32 @f(i32 %a) {
  call void @__sanitizer_cov_trace_args(i64 ptrtoint (ptr @f to i64), i32 0, i32 4, ptr %x, ptr null, i32 0) #1
  call void @__sanitizer_cov_trace_ret(i64 ptrtoint (ptr @f to i64), i32 8, ptr %p, ptr getelementptr (i8, ptr @__kcov_dataflow_fields.1, i64 8), i32 1) #1
}
"""  # noqa: E501

SOURCE = """
void __sanitizer_cov_trace_args(void); void __sanitizer_cov_trace_ret(void);
int table[2] = {1, 2};
void one(void) { __sanitizer_cov_trace_args(); __sanitizer_cov_trace_ret(); __asm__(""); }
void two(void) { __sanitizer_cov_trace_args(); __asm__(""); }
void none(void) {}
"""


def test_the_text_tells_sizes_and_tables_and_no_names() -> None:
    found = parity.read_text(IR)
    assert found == {
        "f": [
            "__sanitizer_cov_trace_args ['0', '4', '0'] None",
            "__sanitizer_cov_trace_ret ['8', '1'] [i64 7, i64 0, i64 8]",
        ]
    }
    assert parity.read_text(IR.replace("%x", "%other").replace("#1", "#2")) == found
    assert parity.read_text(IR.replace("[i64 7, i64 0", "[i64 7, i64 8")) != found
    assert parity.read_text(IR.replace("i32 0, i32 4", "i32 0, i32 2")) != found


def objects(tmp_path: Path, name: str, source: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.fail("the tests need gcc")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.c").write_text(source)
    subprocess.run(["gcc", "-g", "-O1", "-c", "a.c", "-o", "a.o"], cwd=folder, check=True)
    return folder


def test_objects_are_compared_by_function(tmp_path: Path) -> None:
    first = objects(tmp_path, "first", SOURCE)
    found = parity.read_object(first / "a.o")
    assert found.calls == {
        "one": ("__sanitizer_cov_trace_args", "__sanitizer_cov_trace_ret"),
        "two": ("__sanitizer_cov_trace_args",),
    }
    # Other lines and comments change what a debugger sees, and nothing that the kernel loads.
    same, odd = parity.compare(first, objects(tmp_path, "same", "\n\n" + SOURCE), ["a.o"])
    assert (same.identical, same.functions, same.calls, same.differences, odd) == (1, 2, 3, (), set())
    other = objects(tmp_path, "other", SOURCE.replace("__sanitizer_cov_trace_args(); __asm__", "__asm__"))
    told, odd = parity.compare(first, other, ["a.o"])
    assert told.differences == ("a.o: two has 1 calls built in and 0 with the plugin",)
    assert odd == {"a.o"} and told.identical == 0
    data, odd = parity.compare(first, objects(tmp_path, "data", SOURCE.replace("{1, 2}", "{1, 3}")), ["a.o"])
    assert data.differences == () and odd == {"a.o"}, "data that differs must be looked at"


def test_no_object_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(b"BC\xc0\xde" * 20)
    with pytest.raises(UnderTest, match="not a 64-bit little-endian ELF object"):
        parity.read_object(tmp_path / "a.o")
