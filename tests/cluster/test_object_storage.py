"""Object storage: the pipeline on an S3-compatible server on loopback."""

import dataclasses
import json
import logging
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.errors import StoreError, StoreNotFoundError
from nnviz.runs.config import load_config
from tests import planted_stores
from tests.forked import Forked

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bucket():
    """Start a server, name it in the environment as a user does, and make a bucket."""
    # Here, as every process that runs tests imports this module.
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    # One server for all tests: fsspec keeps its connections, by their arguments.
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="runs")
        yield client
        client.close()
        server.stop()


@pytest.fixture(scope="module")
def few_digits(digits, tmp_path_factory):
    """Return a run file of 4 chunks and 2 layers: every piece is some requests."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    shutil.copytree(digits.parent, folder)
    run_file = folder / "run.toml"
    text = digits.read_text().replace("limit = 640", "limit = 120")
    run_file.write_text(text + 'layers = ["mixed", "classifier"]\n')
    return run_file


@pytest.fixture
def create(few_digits):
    """Return a function that makes an empty store at a place."""

    def create(url, **extraction):
        config = load_config(few_digits)
        extraction = dataclasses.replace(config.extraction, **extraction)
        config = dataclasses.replace(config, extraction=extraction)
        plan, probe = nnviz.plan_run(config)
        return nnviz.prepare_store(plan, str(url), probe=probe)

    return create


LAST = re.compile(
    r"zarr/(activations|extraction_done|instances|outcomes|peaks)/.*c/3(/0)?$"
)
"""A piece of the last of four chunks, number 3 of the run."""


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def objects(client):
    """Return every object of the bucket by its key."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="runs")
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {
        key: client.get_object(Bucket="runs", Key=key)["Body"].read() for key in keys
    }


def test_pipeline__store_in_a_bucket__has_the_bytes_of_a_local_one(
    bucket, few_digits, create, checksums, scheduler_address, client, tmp_path
):
    url = "s3://runs/digits.zarr"
    run("plan", few_digits, "--create", url)
    # A program of its own, whose workers have the environment that it is started in.
    command = ("nnviz", "extract", url, "--workers", "1", "--quiet")
    program = Forked(*command, has_server=True)
    _, errors = program.communicate(timeout=240)
    assert program.returncode == 0, errors
    run(
        "aggregate",
        url,
        "--subsets",
        "label",
        "--scheduler",
        scheduler_address,
        "--quiet",
    )
    run("derive", url, "--scheduler", scheduler_address, "--quiet")
    nnviz.extract(create(tmp_path / "local.zarr"), client=client)

    expected = checksums(tmp_path / "local.zarr")
    report = json.loads(run("inspect", url, "--json").output)
    found = objects(bucket)
    for key, data in found.items():
        file = tmp_path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    copied = checksums(tmp_path / "digits.zarr")
    counts = nnviz.aggregates_of(nnviz.open_store(url), "label").counts("mixed")

    assert report["chunks_done"] == 4
    assert {name: copied[name] for name in expected} == expected
    assert counts.sum() > 0
    assert not any(b"a-secret-of-the-test" in data for data in found.values())


class Requests(logging.Handler):
    """Keeps what the server was asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


def test_store_in_a_bucket__is_made_with_one_request_for_each_file(bucket, create):
    """Zarr's own way asks for every group above an array: ten for each."""
    log, requests = logging.getLogger("werkzeug"), Requests()
    level = log.level
    log.addHandler(requests)
    log.setLevel(logging.INFO)
    try:
        create("s3://runs/counted.zarr")
    finally:
        log.removeHandler(requests)
        log.setLevel(level)

    files = [key for key in objects(bucket) if key.startswith("counted.zarr/")]
    written = [line for line in requests.seen if "PUT /runs/" in line]
    assert len(files) <= len(written) <= 1.2 * len(files)
    assert len(requests.seen) < 4 * len(files)


@pytest.fixture
def asked(monkeypatch):
    """Keep what stores at memory:// are asked for: which question, and which key."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.get_filesystem_class("memory")
    seen = []

    class Asked(memory):
        store, pseudo_dirs, cachable = {}, [""], False

        def cat_file(self, path, *args, **kwargs):
            seen.append(("get", path))
            return super().cat_file(path, *args, **kwargs)

        def info(self, path, **kwargs):
            seen.append(("info", path))
            return super().info(path, **kwargs)

        def exists(self, path, **kwargs):
            seen.append(("exists", path))
            return super().exists(path, **kwargs)

        def ls(self, path, *args, **kwargs):
            seen.append(("ls", path))
            return super().ls(path, *args, **kwargs)

    fsspec.register_implementation("memory", Asked, clobber=True)
    yield seen
    fsspec.register_implementation("memory", memory, clobber=True)


def test_stages__ask_a_store_elsewhere_few_questions_of_a_chunk(
    asked, few_digits, scheduler_address
):
    """What a store elsewhere takes is questions, of which each chunk has its own."""
    url, there = "memory://asked.zarr", ("--scheduler", scheduler_address, "--quiet")
    run("plan", few_digits, "--create", url)
    stages = {
        "extract": [url, *there],
        "aggregate": [url, "--subsets", "label", *there],
        "derive": [url, *there],
        "inspect": [url],
        "verify": [url],
    }
    of_chunk, of_metadata = {}, {}
    for stage, arguments in stages.items():
        asked.clear()
        run(stage, *arguments)
        questions = [(what, key.lstrip("/")) for what, key in asked]
        of_chunk[stage] = sum(bool(LAST.search(key)) for _, key in questions)
        # A driver renews what it says of itself as long as it runs.
        of_metadata[stage] = sum(
            key.endswith("zarr.json") and "writer" not in key for _, key in questions
        )
        # What is read is asked for at once, not first whether it is there.
        assert Counter(what for what, _ in questions)["info"] < 25

    for stage, most in {
        "extract": (9, 25),
        "aggregate": (28, 200),
        "derive": (15, 180),
        "inspect": (3, 45),
        "verify": (9, 480),
    }.items():
        assert of_chunk[stage] <= most[0], stage
        assert 0 < of_metadata[stage] <= most[1], stage


def test_store_elsewhere__names_what_was_removed_or_emptied(asked):
    """No object is silently taken for zeros, or for a group without checksums."""
    fsspec = pytest.importorskip("fsspec")
    url = "memory://removed.zarr"
    planted_stores.write_finished(url)
    objects = fsspec.filesystem("memory").store
    pieces = {}  # one of each array
    for key in objects:
        if "/c/" in key or key.endswith("/c"):
            pieces.setdefault(
                key.removeprefix("/removed.zarr/").partition("/c/")[0], key
            )
    assert len(pieces) > 20
    read = ("activations", "instances/label", "aggregates/label/n_instances")
    found = [path for path in pieces if path.startswith(read)]
    assert len(found) > 2

    for path in found:
        for damage in (None, b""):
            kept = objects.pop(pieces[path])
            if damage is not None:
                objects[pieces[path]] = type(kept)(None, pieces[path], damage)
            store = nnviz.open_store(url)
            with pytest.raises(StoreError, match=re.escape(path)):
                store.groups.read(path)
            objects[pieces[path]] = kept
        nnviz.open_store(url).groups.read(path)

    checksums = "/removed.zarr/aggregates/label/checksums/zarr.json"
    kept = objects[checksums]
    objects[checksums] = type(kept)(None, checksums, b"")
    with pytest.raises(StoreError, match="checksums"):
        nnviz.open_store(url).groups.read("aggregates/label/n_instances")


def test_bucket_that_is_missing__is_named_before_anything_is_computed(bucket, create):
    assert "nobody" not in [b["Name"] for b in bucket.list_buckets()["Buckets"]]

    with pytest.raises(StoreNotFoundError, match="no store at 's3://nobody"):
        nnviz.open_store("s3://nobody/run.zarr")
    with pytest.raises(StoreError, match="bucket does not exist; the place above it"):
        create("s3://nobody/run.zarr")


def test_extract__interrupted_in_a_bucket__marks_only_what_is_whole(
    bucket, create, client
):
    """A mark is one object, put whole: there is no half of it to be read."""
    url = "s3://runs/part.zarr"
    # Two for each thread are submitted, and another one as the first is done: however
    # quick the workers are, the last of these chunks have not been.
    n_chunks, n_submitted = 10, 2 * sum(client.nthreads().values()) + 1
    assert n_submitted < n_chunks
    store = create(url, instances_per_chunk=120 // n_chunks)
    assert store.chunks.missing() == list(range(n_chunks))

    with pytest.raises(KeyboardInterrupt):
        nnviz.extract(store, client=client, listeners=[StopsAfter(1)])
    again = nnviz.Store.open(url, writable=True)
    n_missing = len(again.chunks.missing())
    summary = nnviz.extract(again, client=client)

    assert n_chunks - n_submitted <= n_missing < n_chunks
    # Chunks that were under way when it was interrupted may have been completed since.
    assert summary.n_done_before >= n_chunks - n_missing
    assert nnviz.open_store(url).chunks.missing() == []
    assert np.isfinite(nnviz.open_store(url).activations("mixed")).all()


class StopsAfter:
    """Ends an extraction as Ctrl-C does, after some chunks."""

    def __init__(self, n):
        self.left = n

    def receive(self, event):
        self.left -= type(event).__name__ == "TaskDone"
        if self.left == 0:
            raise KeyboardInterrupt
