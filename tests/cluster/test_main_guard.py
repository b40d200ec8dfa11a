"""A script that its own workers would run again is told so before any is started."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = "from nnviz_cluster.main_guard import check_main_guard as start"

SCRIPTS = [
    pytest.param("start()", True, id="plain"),
    pytest.param("def main():\n    start()\nmain()", True, id="function"),
    pytest.param("for _ in range(1):\n    start()", True, id="loop"),
    pytest.param("if __name__ == '__main__':\n    start()", False, id="guard"),
    pytest.param(
        "def main():\n    start()\nif '__main__' == __name__:\n    main()",
        False,
        id="guarded-function",
    ),
    pytest.param("if True:\n    start()", True, id="another-question"),
]


@pytest.mark.parametrize(("body", "is_refused"), SCRIPTS)
def test_check_main_guard__tells_a_script_without_guard(tmp_path, body, is_refused):
    path = tmp_path / "script.py"
    path.write_text(f"{CALL}\n{body}\n")

    found = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False
    )

    assert (found.returncode == 1) == is_refused
    assert ('write if __name__ == "__main__": around' in found.stderr) == is_refused


def test_check_main_guard__lets_interactive_use_pass():
    found = subprocess.run(
        [sys.executable, "-c", f"{CALL}\nstart()"], capture_output=True, check=False
    )

    assert found.returncode == 0
