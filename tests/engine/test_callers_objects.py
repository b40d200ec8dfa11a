"""Objects of the caller's process, packed for others."""

import importlib.util
import sys

import cloudpickle

from nnviz.engine.callers_objects import cannot_travel, packed
from nnviz.engine.handing_over import hold, release


def test_packed__from_a_module_with_two_names__travels_with_its_code(
    tmp_path, monkeypatch
):
    """A process that multiprocessing has spawned has its main module twice."""
    file = tmp_path / "loose_main.py"
    file.write_text("def doubled(x):\n    return 2 * x\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("loose_main", file)
    module = importlib.util.module_from_spec(spec)
    for name in ("loose_main", "loose_main_again"):
        monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)

    assert cannot_travel({"key": module.doubled}) == ""
    added = hold({"key": module.doubled})
    try:
        data = packed(["key"])
    finally:
        release(added)

    monkeypatch.delitem(sys.modules, "loose_main")
    assert cloudpickle.loads(data)["key"](4) == 8
    assert "loose_main" not in cloudpickle.list_registry_pickle_by_value()
