import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "driver", ["nnviz.extraction.extraction", "nnviz.extraction.worker_tasks"]
)
def test_driver__loads_neither_torch_nor_compiled_code(driver):
    script = (
        f"import sys, {driver}; "
        "print(*{'torch', 'numba', 'scipy.stats'}.intersection(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
