"""Tokenizers of Hugging Face and of the user's, against indices written by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.inputs.preparation.tokenizing import (
    Token,
    imports_code,
    known_tokenizer,
    open_tokenizer,
    tokenizer_fingerprint,
)
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "what": 3, "is": 4, "it": 5, "[PAD]": 6}


def made() -> tokenizers.Tokenizer:
    """Return a tokenizer of words that puts special tokens around a text."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


@pytest.fixture(params=["file", "folder", "object", "padding and truncation"])
def tokenizer(request, tmp_path):
    """Return the same tokenizer, opened in each way."""
    whole = made()
    if request.param == "object":
        return known_tokenizer(whole)
    if request.param.startswith("padding"):
        whole.enable_padding(pad_id=6, pad_token="[PAD]", length=30)
        whole.enable_truncation(3)
        return known_tokenizer(whole)
    whole.save(str(tmp_path / "tokenizer.json"))
    is_file = request.param == "file"
    return open_tokenizer(str(tmp_path / "tokenizer.json" if is_file else tmp_path))


def test_arrays_of__indices_and_masks(tokenizer):
    found = tokenizer.arrays_of("what is love")
    assert found["input_ids"].tolist() == [1, 3, 4, 0, 2]
    assert found["attention_mask"].tolist() == [1] * 5
    assert found["special_tokens_mask"].tolist() == [1, 0, 0, 0, 1]
    assert tokenizer.padding_id == 6


def test_arrays_of__cuts_off_before_the_last_special_token(tokenizer):
    found = tokenizer.arrays_of("what is it", 4)
    assert found["input_ids"].tolist() == [1, 3, 4, 2]


def test_tokens_of__say_where_they_stand(tokenizer):
    assert tokenizer.tokens_of("what  love") == [
        Token("[CLS]"),
        Token("what", 0, 4),
        Token("[UNK]", 6, 10),
        Token("[SEP]"),
    ]


def test_open_tokenizer__takes_the_limit_and_padding_that_stand_beside(tmp_path):
    made().save(str(tmp_path / "tokenizer.json"))
    stated = {"model_max_length": 128, "pad_token": {"content": "it"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(stated))
    found = open_tokenizer(str(tmp_path))
    assert (found.max_length, found.padding_id) == (128, 5)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent", None, ConfigError, "there is no 'tokenizer.json'"),
        ("broken/tokenizer.json", "{}", DatasetError, "cannot read the tokenizer"),
    ],
)
def test_open_tokenizer__refuses(tmp_path, name, content, error, message):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    with pytest.raises(error, match=message):
        open_tokenizer(str(path))


def test_open_tokenizer__that_nobody_has_handed_over():
    with pytest.raises(DatasetError, match="hand it over again"):
        open_tokenizer("memory:ids@0123")


@pytest.mark.parametrize(
    ("function", "ids", "tokens"),
    [
        (lambda text: [3, 4], [3, 4], ["what", "Is"]),
        (lambda text: np.array([[3, 4]]), [3, 4], ["what", "Is"]),
        (lambda text: [3], [3], ["3"]),
        (
            lambda text: {"input_ids": [7, 8, 9], "tokens": ["wh", "at", "is"]},
            [7, 8, 9],
            ["wh", "at", "is"],
        ),
        (
            lambda text: {"input_ids": [7, 8], "offsets": [(0, 2), (2, 4)]},
            [7, 8],
            ["wh", "at"],
        ),
    ],
)
def test_known_tokenizer__functions(function, ids, tokens):
    found = known_tokenizer(function)
    assert found.arrays_of("what Is")["input_ids"].tolist() == ids
    shown = found.tokens_of("what Is")
    assert [token.text for token in shown] == tokens
    for token in shown:
        if token.stop:
            here = "what Is"[token.start : token.stop]
            assert here.lower() == token.text.lower()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda text: 1 / 0, "the tokenizer raised ZeroDivisionError"),
        (lambda text: {"ids": [1]}, "the tokenizer gave ids, and no 'input_ids'"),
        (lambda text: [0.5], "should be a list of whole numbers"),
        (lambda text: ["a"], "should be a list of whole numbers"),
    ],
)
def test_known_tokenizer__functions_that_fail(function, message):
    with pytest.raises(UnreadableInstanceError, match=message):
        known_tokenizer(function).arrays_of("what")


def test_known_tokenizer__refuses_what_is_none():
    with pytest.raises(ConfigError, match="the tokenizer is"):
        known_tokenizer(3)


def test_tokenizer_fingerprint__tells_others_apart():
    texts = ["what is it", "it is"]
    same = [tokenizer_fingerprint(known_tokenizer(made()), texts) for _ in range(2)]
    other = tokenizer_fingerprint(known_tokenizer(lambda text: [1, 2]), texts)
    assert same[0] == same[1] != other


@pytest.mark.parametrize(
    ("count", "counted"), [(False, [0, 1, 1, 0, 0, 0]), (True, [1, 1, 1, 1, 0, 0])]
)
def test_prepare__padding_and_special_tokens(tmp_path, count, counted):
    made().save(str(tmp_path / "tokenizer.json"))
    inputs = NetworkInputs(
        (
            InputPart("input_ids", (-1,), "int64", padding=6),
            InputPart("counted", (-1,), "bool", "counted"),
        ),
        n_tokens=6,
    )
    config = PreprocessingConfig(
        kind="text",
        tokenizer=str(tmp_path),
        max_length=6,
        special_tokens_count=count,
    )
    packed = Preprocessing(config, inputs).prepare("what is")
    assert packed.reshape(2, 6).tolist() == [[1, 3, 4, 2, 6, 6], counted]
    if not count:
        with pytest.raises(UnreadableInstanceError, match="no token that counts"):
            Preprocessing(config, inputs).prepare("")


def test_imports_code__only_callables_that_nobody_has_imported():
    assert not imports_code(None)
    assert not imports_code("folder/tokenizer.json")
    assert not imports_code("memory:ids@01")
    assert imports_code("no.such.module:ids")


def test_known_tokenizer__of_transformers():
    transformers = pytest.importorskip("transformers")
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made(), pad_token="[PAD]", model_max_length=9
    )
    found = known_tokenizer(whole)
    assert (found.padding_id, found.max_length) == (6, 9)
    assert found.arrays_of("it is")["input_ids"].tolist() == [1, 5, 4, 2]
