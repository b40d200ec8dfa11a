"""Plans: pure values, with an identity, that refuse what cannot work."""

import dataclasses
import json

import numpy as np
import pytest

from nnviz.errors import ConfigError, ModelError, PlanError, UnknownNameError
from nnviz.formatting import differences
from nnviz.planning.planning import plan_run
from nnviz.runs.architecture import Architecture, Edge, Held, Layer, ReceptiveField
from nnviz.runs.config import (
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
    RunConfig,
)
from nnviz.runs.plan import Measurements, Plan
from nnviz.runs.planning_rules import Findings, make_plan

FIELD = ReceptiveField(size=(3, 3), step=(1.0, 1.0), start=(-1.0, -1.0))
ARCHITECTURE = Architecture(
    layers=(
        Layer("stem", "stem", "convolution", 16, (8, 8), receptive_field=FIELD),
        Layer("block.inner", "block.inner", "convolution", 100, (4, 4), shown=False),
        Layer("block", "block", "sum", 16, (4, 4)),
        Layer("head", "head", "linear", 10),
    ),
    input_shape=(3, 8, 8),
    output_shape=(10,),
)


def plan_of(**changes):
    options = {
        "model": ModelConfig("package:network", weights="/here/weights.safetensors"),
        "dataset": DatasetConfig("folder", path="/here/images"),
        "preprocessing": PreprocessingConfig(),
        "extraction": ExtractionConfig(instances_per_chunk=256),
        "architecture": ARCHITECTURE,
        "class_names": tuple("abcdefghij"),
        "n_instances": 1_000,
        "n_labelled": 1_000,
        "metadata_dtypes": {"age": "float64", "town": "string"},
        "fingerprints": {"model": "1", "dataset": "2"},
        "measurements": Measurements(largest={"stem": 3.0}),
    } | changes
    stated = {"model", "dataset", "classes", "extraction"} & options.keys()
    config = RunConfig(**{name: options.pop(name) for name in stated})
    return make_plan(config, Findings(**options))


def test_plan__through_json__is_the_same():
    plan = plan_of()

    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_plan__without_a_part__names_it():
    value = plan_of().to_json()
    del value["class_names"]

    with pytest.raises(ConfigError, match=r"'class_names' is missing in \[plan\]"):
        Plan.from_json(value)


def test_plan__another_place_or_speed__has_the_same_identity():
    here = plan_of()
    there = plan_of(
        model=ModelConfig("package:network", weights="/there/weights.safetensors"),
        dataset=DatasetConfig("folder", path="/there/images"),
        extraction=ExtractionConfig(instances_per_chunk=256, reader_threads=16),
        measurements=Measurements(seconds_per_instance=0.1, largest={"stem": 4.0}),
    )

    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"fingerprints": {"model": "9", "dataset": "2"}}, id="weights"),
        pytest.param({"n_instances": 999}, id="instances"),
        pytest.param({"preprocessing": PreprocessingConfig(crop=4)}, id="crop"),
        pytest.param(
            {"preprocessing": PreprocessingConfig(resize=4, jpeg_reduction=1.0)},
            id="jpeg-reduction",
        ),
        pytest.param({"extraction": ExtractionConfig(batch_size=32)}, id="batch-size"),
        pytest.param(
            {"extraction": ExtractionConfig(precision="bfloat16")}, id="precision"
        ),
    ],
)
def test_plan__other_numbers_would_come_out__has_another_identity(changes):
    assert plan_of().fingerprint != plan_of(**changes).fingerprint


def test_plan__no_reduction_of_jpegs__has_the_identity_of_plans_before_it():
    assert "jpeg_reduction" not in plan_of().identity()["preprocessing"]


def test_plan__text__says_that_jpegs_are_reduced():
    reduced = PreprocessingConfig(resize=4, jpeg_reduction=1.5)

    assert "decoded at 1.5 times that" in str(plan_of(preprocessing=reduced))
    assert "decoded at" not in str(plan_of())


TRANSFORMER = Architecture(
    layers=(
        Layer("words", "words", "other", 8, (5,), 2),
        Layer("attn.q", "attn.q", "linear", 8, (5,), 2, shown=False),
        Layer("attn@heads", "attn@view", "attention", 8, (5,), 2, aliases=("hook_z",)),
        Layer("head", "head", "linear", 10),
    ),
    edges=(
        Edge("words", "attn@heads", "linear", "attn.v", (0, 8)),
        Edge("attn.q", "attn@heads", "gate", "attn", (0, 8)),
    ),
    input_shape=(5,),
    input_dtype="int64",
    output_shape=(10,),
    validation_error=1e-7,
    held=(
        Held("attention pattern", "attn@heads", 2.5),
        Held("normalization", "attn.q", 0.11),
        Held("normalization", "head", 0.34),
    ),
)


def test_plan__text__says_what_is_held_and_how_much_that_is():
    text = str(plan_of(architecture=TRANSFORMER))

    assert "queries and keys carry no influence: attn.q\n" in text
    assert (
        "attention patterns are held fixed, in 1 place: a channel changes at most 2.5 "
        "times as much by way of them as beside them, before attn@heads\n"
    ) in text
    assert (
        "normalisations are held at their statistics, in 2 places; they are not folded "
        "into weights: a channel changes at most 0.34 times as much by way of them as "
        "beside them, before head\n"
    ) in text
    assert "held" not in str(plan_of())


def test_plan__text__has_the_other_names_of_layers():
    (line,) = [
        line
        for line in str(plan_of(architecture=TRANSFORMER)).splitlines()
        if line.startswith("  * attn@heads ")
    ]

    assert line.split()[-2:] == ["float16", "hook_z"]


def test_plan__other_names_and_what_is_held__do_not_change_the_identity():
    plain = dataclasses.replace(
        TRANSFORMER,
        layers=tuple(dataclasses.replace(x, aliases=()) for x in TRANSFORMER.layers),
        held=(),
    )

    found = plan_of(architecture=TRANSFORMER).fingerprint
    assert found == plan_of(architecture=plain).fingerprint


def test_plan__chunks_and_arrays__cover_all_instances():
    plan = plan_of()

    shapes = {spec.path: spec.shape for spec in plan.arrays}

    assert plan.n_chunks == 4
    assert shapes["activations/block.inner"] == (1_000, 100)
    assert shapes["instances/town"] == (1_000,)
    assert shapes["peaks/block/instance"] == (4, 16, 10)
    assert "peaks/block.inner/instance" not in shapes
    assert list(shapes)[-1] == "extraction_done"
    assert shapes["extraction_done"][0] == 4


def test_plan__value_near_the_limit_of_float16__is_stored_as_float32():
    plan = plan_of(
        measurements=Measurements(largest={"stem": 19_304.0, "head": 9_000.0})
    )

    assert plan.layer_dtypes["stem"] == "float32"
    assert plan.layer_dtypes["head"] == "float16"


def test_plan__few_instances__makes_one_chunk_of_them():
    plan = plan_of(n_instances=40)

    assert plan.extraction.instances_per_chunk == 40


@pytest.mark.parametrize(
    ("n_instances", "batch_size", "n_chunks", "rows"),
    [
        (300, 64, 5, 64),
        (300, 200, 2, 200),  # at least a batch
        (5_000, 64, 20, 256),
        (16_383, 64, 32, 512),
        (16_384, 64, 16, 1024),
        (1_281_167, 64, 1_252, 1024),
        (1_281_167, 4_096, 1_252, 1024),  # as it was
    ],
)
def test_plan__chunks_not_stated__are_smaller_in_small_runs(
    n_instances, batch_size, n_chunks, rows
):
    plan = plan_of(
        n_instances=n_instances, extraction=ExtractionConfig(batch_size=batch_size)
    )

    assert (plan.n_chunks, plan.rows_per_chunk) == (n_chunks, rows)
    assert plan.to_json()["extraction"]["instances_per_chunk"] == rows


def test_plan__chunks_not_stated__is_the_plan_that_states_their_number():
    chosen = plan_of(n_instances=5_000, extraction=ExtractionConfig())
    stated = plan_of(
        n_instances=5_000, extraction=ExtractionConfig(instances_per_chunk=256)
    )

    assert chosen.fingerprint == stated.fingerprint
    assert Plan.from_json(chosen.to_json()) == chosen


def test_plan__patterns__select_layers():
    extraction = ExtractionConfig(layers=("*", "!*.inner"), shown=("head",))

    architecture = plan_of(extraction=extraction).architecture

    assert [layer.name for layer in architecture.layers] == ["stem", "block", "head"]
    assert [layer.name for layer in architecture.shown] == ["head"]


def test_plan__as_text__names_layers_sizes_and_classes():
    text = str(plan_of())

    assert "4 recorded, 3 shown, 142 channels" in text
    assert "block.inner" in text
    assert "4 chunks of 256" in text
    assert "a, b, c, d, e, … j\n" in text


def test_plan__as_text__says_how_labels_were_joined():
    plan = plan_of(labels_joined_by="column 'wnid' of classes.csv")

    assert "… j; labels joined by column 'wnid' of classes.csv\n" in str(plan)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.fingerprint == plan_of().fingerprint


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"n_instances": 0}, PlanError, "no instances", id="empty"),
        pytest.param(
            {"architecture": dataclasses.replace(ARCHITECTURE, layers=())},
            PlanError,
            "no layer was found",
            id="no-layers",
        ),
        pytest.param(
            {"extraction": ExtractionConfig(layers=("blok",))},
            UnknownNameError,
            "pattern 'blok' matches none of the 4 layers; did you mean 'block'",
            id="pattern",
        ),
        pytest.param(
            {"extraction": ExtractionConfig(batch_size=0)},
            PlanError,
            "extraction.batch_size is 0; it must be at least 1",
            id="batch-size",
        ),
        pytest.param(
            {"extraction": ExtractionConfig(share=1.5)},
            PlanError,
            r"extraction.share is 1.5; it must be in \(0, 1\]",
            id="share",
        ),
        pytest.param(
            {"extraction": ExtractionConfig(excluded_channels={"stem": (16,)})},
            PlanError,
            "channel 16 of layer 'stem', which has the channels 0 to 15",
            id="excluded-channel",
        ),
        pytest.param(
            {"extraction": ExtractionConfig(excluded_channels={"stm": (1,)})},
            UnknownNameError,
            "unknown layer 'stm'; did you mean 'stem'",
            id="excluded-layer",
        ),
        pytest.param(
            {"metadata_dtypes": {"prediction": "int64"}},
            PlanError,
            "metadata column 'prediction' cannot be stored(?!.*did you mean)",
            id="reserved-column",
        ),
        pytest.param(
            {"metadata_dtypes": {"label": "int64"}},
            PlanError,
            "holds the labels, name it as dataset.label_column",
            id="label-column",
        ),
        pytest.param(
            {"metadata_dtypes": {"a/b": "int64"}},
            PlanError,
            "metadata column 'a/b' cannot be stored",
            id="column-with-slash",
        ),
    ],
)
def test_make_plan__what_cannot_work__is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        plan_of(**changes)


def test_plan__influences_of_all_targets__are_told_with_a_warning():
    edges = (
        Edge("stem", "block", "convolution", "block", (0, 16)),
        Edge("block", "head", "linear", "head", (0, 10)),
    )
    wired = dataclasses.replace(ARCHITECTURE, edges=edges)

    top = str(plan_of(architecture=wired))
    extraction = ExtractionConfig(targets="all")
    everything = str(plan_of(architecture=wired, extraction=extraction))

    # 8 of 16 and 8 of 10 targets, of 2 bytes, 4 of the remainder and 5 ranks of 6 each.
    assert "top targets of 2 layers, 5 ranks: 576.0 kB, 576 bytes an instance" in top
    assert "warning" not in top
    assert "all targets of 2 layers, 5 ranks: 936.0 kB" in everything
    assert "warning: all targets take" in everything


def test_differences__nested_values__are_named_by_their_path():
    found = differences({"a": {"b": [1, 2]}, "c": 1}, {"a": {"b": [1, 3]}, "d": 2})

    assert found == ["a.b[1]: 2, not 3", "c: 1, not None", "d: None, not 2"]


def plan_of_words(folder, dtype):
    (folder / "net.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(\n"
        "        nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)\n    )\n"
    )
    np.save(folder / "x.npy", np.arange(12, dtype=np.float64).reshape(4, 3) % 9)
    config = RunConfig(
        model=ModelConfig(f"{folder / 'net.py'}:build"),
        dataset=DatasetConfig("arrays", path=str(folder / "x.npy")),
        preprocessing=PreprocessingConfig(kind="array", dtype=dtype),
        extraction=ExtractionConfig(device="cpu"),
    )
    return plan_run(config)[0]


def test_plan_run__arrays_of_another_dtype__become_what_the_network_wants(tmp_path):
    with pytest.raises(ModelError, match=r"become float32; preprocessing\.dtype"):
        plan_of_words(tmp_path, None)

    assert "as the data set returns them, whole numbers as they are\n" in str(
        plan_of_words(tmp_path, "int64")
    )
