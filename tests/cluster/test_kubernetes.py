"""Kubernetes: what a site applies is right, and its commands run; only not in pods."""

import copy
import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_schemas import check, documents_of, patched
from slurm_site import free_port, wait_for

from nnviz.errors import ConfigError
from nnviz_cluster import kubernetes
from nnviz_cluster.site import KubernetesConfig, load_site
from tests.forked import Forked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster" / "kubernetes"
RUN = FOLDER / "run"
SPOT = FOLDER / "spot"
REFUSED = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


def manifest(name, folder=RUN):
    (document,) = documents_of(folder / name)
    return document


@pytest.fixture
def config():
    """Return the template's cluster, of the names that the manifest has."""
    image = "registry.example.org/nnviz:latest"
    place = KubernetesConfig(image=image, name="nnviz")
    return dataclasses.replace(load_site("kubernetes"), kubernetes=place)


def test_kustomization__names_every_manifest():
    listed = manifest("kustomization.yaml")["resources"]
    spot = manifest("kustomization.yaml", SPOT)

    there = {path.name for path in RUN.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there
    # Kustomize refuses a folder that is above the one that names it.
    assert (SPOT / spot["resources"][0]).resolve() == RUN
    assert [p["path"] for p in spot["patches"]] == ["workers.yaml"]


def test_manifests__are_as_kubernetes_and_the_operator_want_them():
    kinds = []
    for name in manifest("kustomization.yaml")["resources"]:
        for document in documents_of(RUN / name):
            check(document)
            kinds.append(document["kind"])

    assert {"DaskCluster", "Job", "NetworkPolicy", "Role"} <= set(kinds)


def test_spot_workers__are_the_same_cluster_on_machines_that_may_vanish():
    merged = patched(manifest("cluster.yaml"), manifest("workers.yaml", SPOT))

    check(merged)
    worker, scheduler = (
        merged["spec"][part]["spec"] for part in ("worker", "scheduler")
    )
    assert worker["tolerations"][0]["effect"] == "NoSchedule"
    assert worker["containers"][0]["name"] == "worker"
    assert "nodeSelector" not in scheduler


@pytest.mark.parametrize(
    ("file", "place", "right", "wrong"),
    [
        pytest.param(
            "cluster.yaml", "spec", "idleTimeout", "idleTimeOut", id="of-the-cluster"
        ),
        pytest.param(
            "cluster.yaml", "spec.worker", "replicas", "replica", id="of-the-workers"
        ),
        pytest.param(
            "cluster.yaml",
            "spec.worker.spec.containers.0",
            "volumeMounts",
            "volumeMount",
            id="of-a-container",
        ),
        pytest.param(
            "extract.yaml", "spec", "backoffLimit", "backOffLimit", id="of-the-job"
        ),
        pytest.param(
            "network-policy.yaml", "spec", "ingress", "ingres", id="of-the-policy"
        ),
        pytest.param(
            "storage.yaml", "spec", "accessModes", "accessMode", id="of-the-claim"
        ),
    ],
)
def test_check__a_misspelt_field_is_found(file, place, right, wrong):
    document = copy.deepcopy(manifest(file))
    part = document
    for name in place.split("."):
        part = part[int(name) if name.isdigit() else name]
    part[wrong] = part.pop(right)

    with pytest.raises(REFUSED, match=wrong):
        check(document)


def test_check__a_value_of_another_type_is_found(config):
    document = kubernetes.cluster_document(config, 1)
    document["spec"]["worker"]["replicas"] = "two"

    with pytest.raises(REFUSED, match="'two' is not of type 'integer'"):
        check(document)


@pytest.mark.parametrize("gpus", [0, 2])
def test_document__is_as_the_operator_wants_it(config, gpus):
    place = dataclasses.replace(config.kubernetes, gpus=gpus)
    config = dataclasses.replace(
        config, kubernetes=place, workers=3, environment={"AWS_REGION": "x"}
    )

    document = kubernetes.cluster_document(config, threads=2)

    check(document)
    worker = document["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert worker["replicas"] == 3
    assert variables["OMP_NUM_THREADS"] == "2"
    assert variables["AWS_REGION"] == "x"
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (
        str(gpus) if gpus else None
    )


def test_manifest__is_what_nnviz_makes_and_more(config):
    """So that both ways to run have the same pods."""
    made = kubernetes.cluster_document(config, threads=1)

    assert lacking(made, manifest("cluster.yaml")) == []


def lacking(made, there, place=""):
    """Return where something of `made` is not in `there`, or is another value."""
    if isinstance(made, dict) and isinstance(there, dict):
        return [
            found
            for name, value in made.items()
            for found in lacking(value, there.get(name), f"{place}.{name}")
        ]
    if isinstance(made, list) and isinstance(there, list) and len(made) == len(there):
        return [
            found
            for i, (one, other) in enumerate(zip(made, there, strict=True))
            for found in lacking(one, other, f"{place}.{i}")
        ]
    return [] if made == there else [f"{place}: {made!r}, not {there!r}"]


def answers(address):
    """Return whether a page of loopback is there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
    except OSError:
        return False


def test_arguments__a_manifest_takes_the_place_of_the_document(config, tmp_path):
    there = dataclasses.replace(config.kubernetes, manifest=str(RUN / "cluster.yaml"))
    absent = dataclasses.replace(there, manifest=str(tmp_path / "none.yaml"))

    arguments = kubernetes.cluster_arguments(
        dataclasses.replace(config, kubernetes=there), 1
    )

    assert arguments["custom_cluster_spec"] == str(RUN / "cluster.yaml")
    with pytest.raises(ConfigError, match="there is no file"):
        kubernetes.cluster_arguments(dataclasses.replace(config, kubernetes=absent), 1)


@pytest.mark.cluster
def test_manifests__their_commands_fill_a_store(
    create, tmp_path, program_environment, checksums, expected
):
    """All but the pods: scheduler, worker and driver of the manifests, as processes."""
    create(tmp_path / "run.zarr")
    spec = manifest("cluster.yaml")["spec"]
    (scheduler,) = spec["scheduler"]["spec"]["containers"]
    (worker,) = spec["worker"]["spec"]["containers"]
    (driver,) = manifest("extract.yaml")["spec"]["template"]["spec"]["containers"]
    port, pages, health = free_port(), free_port(), free_port()
    variables = {entry["name"]: entry["value"] for entry in worker["env"]}
    # What the operator adds to the pods of workers.
    variables |= {"DASK_WORKER_NAME": "one"}
    variables |= {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{port}"}
    on_loopback = {
        "0.0.0.0": "127.0.0.1",
        "8788": f"127.0.0.1:{health}",
        "$(DASK_WORKER_NAME)": "one",
        "tcp://nnviz-scheduler:8786": f"tcp://127.0.0.1:{port}",
        "/data/run.zarr": str(tmp_path / "run.zarr"),
    }

    def words(container):
        return [on_loopback.get(word, word) for word in container["args"]]

    def start_worker(*more):
        # As it is: the libraries that it imports read its variables.
        return subprocess.Popen(
            [*words(worker), *more],
            env=program_environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    pages_there = ("--dashboard-address", f"127.0.0.1:{pages}")
    parts = [Forked(*words(scheduler), "--port", str(port), *pages_there)]
    try:
        probe = scheduler["readinessProbe"]["httpGet"]["path"]
        wait_for(lambda: answers(f"http://127.0.0.1:{pages}{probe}"))
        parts.append(start_worker("--host", "127.0.0.1"))
        wait_for(lambda: answers(f"http://127.0.0.1:{health}/health"))
        driving = Forked(*words(driver))
        parts.append(driving)
        lines, _ = driving.communicate(timeout=120)
    finally:
        for part in parts:
            if part.poll() is None:
                os.killpg(part.pid, signal.SIGTERM)
            part.communicate(timeout=30)

    assert driving.returncode == 0
    assert json.loads(lines.splitlines()[0])["event"]
    assert checksums(tmp_path / "run.zarr") == expected


@pytest.fixture(scope="module")
def instructions():
    """Return the container file as (instruction, words), continued lines joined."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [
        (name, shlex.split(rest))
        for name, _, rest in (line.strip().partition(" ") for line in joined if line)
    ]


@pytest.mark.slow
def test_container__what_it_copies_is_enough_for_the_wheel(instructions, tmp_path):
    """The build stage without a container: the same files, the same wheel as here."""
    stage = [name for name, _ in instructions].index("FROM", 1)
    for name, words in instructions[:stage]:
        for source in words[:-1] if name == "COPY" else ():
            there = tmp_path / words[-1]
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, there)
            else:
                shutil.copy(ROOT / source, there)
    wheels = tmp_path / "dist"

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    (wheel,) = wheels.glob("nnviz-*.whl")
    files = {n for n in zipfile.ZipFile(wheel).namelist() if "dist-info" not in n}
    packages = ("nnviz", "cluster/nnviz_cluster", "dashboards/nnviz_dashboards")
    assert files == {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_container__is_slim_pinned_and_runs_without_rights(instructions):
    of = [(name, words) for name, words in instructions if name != "COPY"]
    copied = [w for n, words in instructions if n == "COPY" for w in words[:-1]]
    extras = dict(words[0].split("=") for name, words in of if name == "ARG")["EXTRAS"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (user,) = [words[0] for name, words in of if name == "USER"]
    installed = [" ".join(words) for name, words in of if name == "RUN"]

    assert {words[0] for name, words in of if name == "FROM"} == {"python:3.11-slim"}
    assert "constraints.txt" in copied
    assert any("--constraint /tmp/constraints.txt" in line for line in installed)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    for part in ("scheduler", "worker"):
        pod = manifest("cluster.yaml")["spec"][part]["spec"]
        rights = pod["securityContext"]
        assert f"{rights['runAsUser']}:{rights['runAsGroup']}" == user
