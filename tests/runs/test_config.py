"""Run files: what is read, and what is refused with which words."""

import dataclasses

import pytest

from nnviz.errors import ConfigError
from nnviz.runs.config import (
    ExtractionConfig,
    PreprocessingConfig,
    RunConfig,
    load_config,
)
from nnviz.runs.json_values import from_json, to_json

MINIMAL = """
[model]
source = "package.module:callable"

[dataset]
kind = "folder"
path = "images"
"""


def write(folder, text):
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_load_config__minimal_file__has_defaults_and_absolute_paths(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))

    assert config.dataset.path == str(tmp_path / "images")
    assert config.extraction == ExtractionConfig()
    assert config.preprocessing is None


def test_load_config__url__stays_as_it_is(tmp_path):
    text = MINIMAL.replace('"images"', '"s3://bucket/images"')

    assert load_config(write(tmp_path, text)).dataset.path == "s3://bucket/images"


def test_load_config__whole_numbers__become_numbers_where_those_are_wanted(tmp_path):
    text = MINIMAL + "[preprocessing]\nmean = [0, 0.5, 1]\nresize = [32, 48]\n"

    preprocessing = load_config(write(tmp_path, text)).preprocessing

    assert preprocessing == PreprocessingConfig(mean=(0.0, 0.5, 1.0), resize=(32, 48))


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        pytest.param(
            "[extraction]\nbatchsize = 3",
            r"unknown option 'batchsize' in \[extraction\]; did you mean 'batch_size'",
            id="unknown-option",
        ),
        pytest.param(
            "[extractoin]\n",
            r"unknown table 'extractoin' at the top.*did you mean 'extraction'",
            id="unknown-table",
        ),
        pytest.param(
            "[extraction]\nbatch_size = 'big'",
            r"extraction.batch_size is 'big'; it should be a whole number",
            id="wrong-type",
        ),
        pytest.param(
            "[extraction]\nbatch_size = true",
            r"extraction.batch_size is True; it should be a whole number",
            id="boolean-is-no-number",
        ),
        pytest.param(
            "[extraction]\nprecision = 'float31'",
            r"did you mean 'float32'.*it can be 'float32', 'bfloat16', 'float16'",
            id="closed-choice",
        ),
        pytest.param(
            "[preprocessing]\nresize = [1, 2, 3]",
            r"preprocessing.resize is \[1, 2, 3\]; it should be a whole number or a l",
            id="wrong-length",
        ),
        pytest.param("[model", "is not a TOML file", id="not-toml"),
    ],
)
def test_load_config__bad_file__says_what_is_wrong(tmp_path, addition, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, MINIMAL + addition))


def test_load_config__missing_option__names_it(tmp_path):
    text = MINIMAL.replace('kind = "folder"', "")

    with pytest.raises(ConfigError, match=r"option 'kind' is missing in \[dataset\]"):
        load_config(write(tmp_path, text))


def test_load_config__missing_file__is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the run file"):
        load_config(tmp_path / "nothing.toml")


def test_from_json__of_to_json__is_the_same_configuration(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    config = dataclasses.replace(
        config,
        preprocessing=PreprocessingConfig(crop=(3, 4), mean=(0.1, 0.2, 0.3)),
        extraction=ExtractionConfig(excluded_channels={"conv": (1, 2)}),
    )

    assert from_json(RunConfig, to_json(config)) == config


def test_load_config__makes_sources_that_are_paths_absolute(tmp_path):
    (tmp_path / "folder").mkdir()
    sources = {
        "nets.py:net": f"{tmp_path}/nets.py:net",
        "net.ckpt": f"{tmp_path}/net.ckpt",
        "transformers:folder": f"transformers:{tmp_path}/folder",
        "transformers:ResNetConfig": "transformers:ResNetConfig",
        "package.module:net": "package.module:net",
    }
    run = tmp_path / "run.toml"
    found = {}

    for source in sources:
        run.write_text(
            f'[model]\nsource = "{source}"\n'
            f'[dataset]\nkind = "torch"\nsource = "data.py:pictures"\n'
        )
        config = load_config(run)
        found[source] = config.model.source
        assert config.dataset.source == f"{tmp_path}/data.py:pictures"

    assert found == sources
