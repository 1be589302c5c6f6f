"""The toolkit runs from its checkout: pip makes the editable install of ./invoke, and no wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_wheel_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    words = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    assert "is not built as a package: clone the repository and run ./invoke" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_the_editable_install_is_let_through() -> None:
    code = "import refuse_wheel; print(refuse_wheel.build_editable.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "setuptools.build_meta"
