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


def test_isolation__loads_no_network_and_no_scheduler():
    """Each instance that ends it costs another start of it."""
    script = (
        "import sys, nnviz.extraction.isolation; "
        "print(*{'torch', 'numba', 'distributed'}.intersection(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
