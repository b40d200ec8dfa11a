"""A cluster of GPUs, as far as a machine without one can tell."""

import importlib.util

import pytest

from nnviz.errors import ConfigError, MissingDependencyError
from nnviz_cluster import cuda
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import ClusterConfig, load_site


def test_arguments__one_thread_for_each_gpu_on_loopback():
    arguments = cuda.cluster_arguments(load_site("cuda"), None)

    assert arguments["n_workers"] is None  # as many as there are GPUs
    assert arguments["threads_per_worker"] == 1
    assert arguments["host"] == "127.0.0.1"
    assert arguments["dashboard_address"] == "127.0.0.1:0"


def test_arguments__an_interface_takes_the_place_of_the_address():
    config = ClusterConfig(kind="cuda", interface="ib0", insecure=True)

    arguments = cuda.cluster_arguments(config, None)

    assert (arguments["host"], arguments["interface"]) == (None, "ib0")


def test_client__without_dask_cuda__says_what_to_install():
    if importlib.util.find_spec("dask_cuda") is not None:
        pytest.skip("dask-cuda is installed")

    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'nnviz\[cuda\]'"),
        open_client(load_site("cuda")),
    ):
        pass


def test_devices__none__is_one_message(monkeypatch):
    """Also where there are GPUs: none of them is to be seen."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    with pytest.raises(ConfigError, match="there is no GPU for a cuda cluster"):
        cuda.check_devices(load_site("cuda"))


def test_devices__an_adaptive_number__is_refused():
    config = ClusterConfig(kind="cuda", minimum=1, maximum=4)

    with pytest.raises(ConfigError, match="cannot be adaptive"):
        cuda.check_devices(config)
