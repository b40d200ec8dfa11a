"""Networks from everywhere, and files that would run code."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import types

import pytest
import safetensors.torch
import torch
from torch import nn

from nnviz.errors import (
    ConfigError,
    MissingDependencyError,
    ModelError,
    UntrustedCodeError,
)
from nnviz.inputs.models.loading import load_model
from nnviz.runs.config import ModelConfig, PreprocessingConfig

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 2)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).amax((2, 3)))


class Zoo:
    @staticmethod
    def small():
        return Net(2)


def fail():
    raise RuntimeError("no such network")


def number():
    return 3
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "nets.py").write_text(SOURCE)
    return str(tmp_path / "nets.py")


def load(source, name="Net", *, trust=False, **options):
    return load_model(ModelConfig(f"{source}:{name}", **options), trust=trust)


def test_load_model__is_frozen_and_in_eval_mode(source):
    torch.manual_seed(0)

    loaded = load(source, arguments={"width": 6}, class_names=("cat", "dog"))

    assert loaded.module.conv.out_channels == 6
    assert not any(module.training for module in loaded.module.modules())
    assert not any(p.requires_grad for p in loaded.module.parameters())
    assert loaded.class_names == ("cat", "dog")
    assert loaded.preprocessing is None


def test_load_model__finds_callables_in_modules_and_classes(source):
    by_module = load_model(ModelConfig("benchmarks.networks:resnet20"))

    assert load(source, "Zoo.small").module.conv.out_channels == 2
    assert type(by_module.module).__name__ == "CifarResNet"


def test_load_model__fingerprint_sees_values_shapes_dtypes_and_buffers(source):
    def fingerprint(change=lambda module: None, **arguments):
        torch.manual_seed(0)
        module = load(source, arguments=arguments).module
        change(module)
        types_of_run = types.ModuleType("changed")
        types_of_run.build = lambda: module
        sys.modules["changed"] = types_of_run
        return load_model(ModelConfig("changed:build")).fingerprint

    same = {fingerprint(), fingerprint()}
    others = {
        fingerprint(width=5),
        fingerprint(lambda m: m.conv.bias.data.add_(1e-6)),
        fingerprint(lambda m: m.norm.running_mean.add_(1e-6)),
        fingerprint(lambda m: m.hidden.add_(1)),
        fingerprint(lambda m: m.half()),
    }

    del sys.modules["changed"]
    assert (len(same), len(others), same & others) == (1, 5, set())


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        pytest.param("Nett", {}, ModelError, "did you mean 'Net'", id="unknown"),
        pytest.param("Net", {"wide": 3}, ModelError, "raised TypeError", id="argument"),
        pytest.param("fail", {}, ModelError, "no such network", id="raises"),
        pytest.param("number", {}, ModelError, "returned int", id="no-module"),
        pytest.param("torch.nothing", {}, ModelError, "no 'nothing'", id="nested"),
    ],
)
def test_load_model__says_what_cannot_be_built(source, name, arguments, error, message):
    with pytest.raises(error, match=message):
        load(source, name, arguments=arguments)


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        pytest.param("no.such:f", ModelError, "cannot import 'no.such'", id="module"),
        pytest.param("no/such.py:f", ModelError, "no file", id="file"),
        pytest.param("resnet50", ConfigError, "package.module:callable", id="name"),
        pytest.param("a.onnx", ConfigError, "or a file", id="suffix"),
        pytest.param("absent.pt2", ModelError, "no model file", id="absent"),
        pytest.param("w.safetensors", ModelError, "model.weights", id="weights"),
    ],
)
def test_load_model__says_what_a_source_should_be(place, error, message):
    with pytest.raises(error, match=message):
        load_model(ModelConfig(place))


def test_load_model__says_what_the_users_file_raises(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0\n")

    for _ in range(2):
        with pytest.raises(ModelError, match="ZeroDivisionError"):
            load(str(tmp_path / "bad.py"))


def nested(weights, form):
    prefixed = {f"module.{name}": value for name, value in weights.items()}
    compiled = {f"_orig_mod.{name}": value for name, value in prefixed.items()}
    return {
        "plain": weights,
        "state_dict": {"state_dict": weights, "epoch": 3, "args": {"lr": 0.1}},
        "model": {"model": weights, "optimizer": {"state": {}}},
        "twice": {"checkpoint": 1, "state_dict": {"model": weights}},
        "module-prefix": prefixed,
        "prefix-of-prefix": {"state_dict": compiled},
    }[form]


@pytest.mark.parametrize(
    "form",
    ["plain", "state_dict", "model", "twice", "module-prefix", "prefix-of-prefix"],
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_weights__are_found_wherever_they_are_nested(source, tmp_path, form, legacy):
    original = load(source).module
    torch.save(
        nested(original.state_dict(), form),
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=not legacy,
    )

    loaded = load(source, weights=str(tmp_path / "w.pth")).module

    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_weights__are_read_from_safetensors_by_content(source, tmp_path, name):
    original = load(source).module
    weights = original.state_dict()
    del weights["norm.num_batches_tracked"]
    safetensors.torch.save_file(weights, tmp_path / name)

    loaded = load(source, weights=str(tmp_path / name))

    assert torch.equal(loaded.module.conv.weight, original.conv.weight)
    assert not any(p.requires_grad for p in loaded.module.parameters())


def test_weights__that_do_not_fit_are_listed(source, tmp_path):
    weights = load(source).module.state_dict()
    weights["conv.weight"] = torch.zeros(5, 3, 3, 3)
    del weights["head.bias"]
    weights |= {f"extra.{index:02}": torch.zeros(1) for index in range(12)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")

    with pytest.raises(ModelError) as caught:
        load(source, weights=str(tmp_path / "w.safetensors"))

    message = str(caught.value)
    assert "1 missing: head.bias" in message
    assert "12 unexpected: extra.00, " in message
    assert "extra.09, ..." in message
    assert "extra.10" not in message
    assert "1 of another shape: conv.weight (5, 3, 3, 3) instead of (4, 3, 3, 3)" in (
        message
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(None, "no weights file", id="absent"),
        pytest.param(b"", "cannot read|not a weights", id="empty"),
        pytest.param(b"hello world, no weights", "not a weights|cannot", id="text"),
        pytest.param(b"\x10\0\0\0\0\0\0\0{damaged", "safetensors", id="damaged"),
    ],
)
def test_weights__say_what_cannot_be_read(source, tmp_path, data, message):
    if data is not None:
        (tmp_path / "w.pth").write_bytes(data)

    with pytest.raises(ModelError, match=message):
        load(source, weights=str(tmp_path / "w.pth"))


def test_weights__that_are_no_file__say_how_a_library_is_asked_for_its_own(source):
    with pytest.raises(ModelError, match=r'arguments = \{ weights = "DEFAULT" \}'):
        load(source, weights="DEFAULT")


def test_weights__say_what_is_in_a_file_without_any(source, tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "w.pth")

    with pytest.raises(ModelError, match="dictionary with 'epoch', 'loss'"):
        load(source, weights=str(tmp_path / "w.pth"))


class Gadget:
    """Makes a folder as a marker where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.mark.parametrize("trust", [False, True], ids=["untrusted", "trusted"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_weights__never_run_code_trusted_or_not(source, tmp_path, trust, legacy):
    marker, path = tmp_path / "marker", tmp_path / "w.pth"
    torch.save(
        {"state_dict": Gadget(str(marker))},
        path,
        _use_new_zipfile_serialization=not legacy,
    )

    with pytest.raises(UntrustedCodeError, match=r"would run code.*mkdir"):
        load(source, weights=str(path), trust=trust)

    assert not marker.exists()


def test_pickled_model__is_read_only_when_trusted(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(nn.Sequential(nn.Linear(3, 2)).train(), path)

    with pytest.raises(UntrustedCodeError, match="--trust"):
        load_model(ModelConfig(str(path)))
    loaded = load_model(ModelConfig(str(path)), trust=True)

    assert loaded.module(torch.zeros(1, 3)).shape == (1, 2)
    assert not loaded.module.training


def test_pickled_model__runs_its_code_only_when_trusted(tmp_path):
    """Row 34: the marker appears only where that was asked for."""
    marker, path = tmp_path / "marker", tmp_path / "net.pt"
    torch.save(Gadget(str(marker)), path)

    with pytest.raises(UntrustedCodeError, match="runs the code"):
        load_model(ModelConfig(str(path)))
    assert not marker.exists()
    with pytest.raises(ModelError, match=r"not a torch\.nn\.Module"):
        load_model(ModelConfig(str(path)), trust=True)
    assert marker.exists()


def test_pickled_model__that_holds_only_weights_says_so(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w.pth")

    with pytest.raises(ModelError, match=r"model\.weights"):
        load_model(ModelConfig(str(tmp_path / "w.pth")), trust=True)


@pytest.mark.parametrize("trust", [False, True], ids=["untrusted", "trusted"])
@pytest.mark.parametrize("data", [b"nothing" * 9, b"", b"\x80\x02"], ids=repr)
def test_garbage__is_neither_weights_nor_code(source, tmp_path, data, trust):
    (tmp_path / "w.pt").write_bytes(data)

    with pytest.raises(ModelError, match=r"neither a model nor a file of weights"):
        load_model(ModelConfig(str(tmp_path / "w.pt")), trust=trust)
    with pytest.raises(ModelError, match=r"not a file of weights|cannot read"):
        load(source, weights=str(tmp_path / "w.pt"), trust=trust)


def test_torchscript__is_refused(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(tmp_path / "net.pt")

    with pytest.raises(ModelError, match="TorchScript"):
        load_model(ModelConfig(str(tmp_path / "net.pt")), trust=True)


@pytest.mark.filterwarnings("ignore")
def test_exported_program__is_read_only_when_trusted(tmp_path):
    """Row 34: a .pt2 file may hold pickles."""
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    program = torch.export.export(
        module, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    )
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)

    with pytest.raises(UntrustedCodeError, match="unpickles parts"):
        load_model(ModelConfig(str(path)))
    loaded = load_model(ModelConfig(str(path)), trust=True)

    x = torch.randn(2, 3)
    torch.testing.assert_close(loaded.module(x), module(x))
    assert not any(p.requires_grad for p in loaded.module.parameters())


def library(name):
    try:
        return __import__(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


@pytest.mark.parametrize(
    ("prefix", "module"),
    [
        ("torchvision", "torchvision"),
        ("timm", "timm"),
        ("transformers", "transformers"),
    ],
)
def test_zoo__that_is_missing_or_broken_is_named(prefix, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingDependencyError, match=rf"{module} .*pip install"):
        load_model(ModelConfig(f"{prefix}:something"))


def test_zoo__that_fails_with_another_error_is_named(monkeypatch, tmp_path):
    """As torchvision does where it was built for another torch."""
    package = tmp_path / "timm"
    package.mkdir()
    (package / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)

    with pytest.raises(MissingDependencyError, match="nms does not exist; reinstall"):
        load_model(ModelConfig("timm:resnet18"))


class TestTorchvision:
    """Networks of torchvision."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        library("torchvision")

    def test_untrained__has_no_preprocessing(self):
        loaded = load_model(ModelConfig("torchvision:squeezenet1_0"))

        assert (loaded.preprocessing, loaded.class_names) == (None, ())

    def test_weights_file__fits_the_same_names(self, shared):
        path = shared / "models/squeezenet1_0-imagenet.safetensors"

        loaded = load_model(ModelConfig("torchvision:squeezenet1_0", weights=str(path)))

        ours = load_model(
            ModelConfig("benchmarks.networks:squeezenet1_0", weights=str(path))
        )
        assert loaded.fingerprint == ours.fingerprint
        x = torch.randn(2, 3, 96, 96)
        assert torch.equal(loaded.module(x), ours.module(x))

    @pytest.fixture
    def cached(self, tmp_path, monkeypatch):
        """Where torchvision looks for trained weights before it downloads any."""
        from torchvision.models import SqueezeNet1_0_Weights

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        name = SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
        (tmp_path / "hub/checkpoints").mkdir(parents=True)
        return tmp_path / "hub/checkpoints" / name

    def test_trained__brings_preprocessing_and_names(self, cached):
        from torchvision import models

        torch.save(models.squeezenet1_0().state_dict(), cached)

        loaded = load_model(
            ModelConfig("torchvision:squeezenet1_0", {"weights": "IMAGENET1K_V1"})
        )

        assert loaded.preprocessing == PreprocessingConfig(
            resize=256,
            crop=224,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        assert loaded.class_names[:2] == ("tench", "goldfish")

    def test_trained__runs_no_code_that_lies_in_the_cache(self, cached, tmp_path):
        marker = tmp_path / "marker"
        torch.save({"features.0.weight": Gadget(str(marker))}, cached)

        with pytest.raises(UntrustedCodeError, match="delete them"):
            load_model(ModelConfig("torchvision:squeezenet1_0", {"weights": "DEFAULT"}))

        assert not marker.exists()

    def test_trained__says_which_weights_there_are(self):
        with pytest.raises(ModelError, match="it has IMAGENET1K_V1"):
            load_model(ModelConfig("torchvision:squeezenet1_0", {"weights": "V3"}))

    def test_every_classification_preset__translates(self):
        from torchvision import models

        from nnviz.inputs.models.zoos import preprocessing_of_torchvision

        for name in models.list_models(module=models):
            for weights in models.get_model_weights(name):
                preset = weights.transforms()
                found = preprocessing_of_torchvision(preset)
                assert found is not None
                assert [found.resize] == preset.resize_size
                assert [found.crop] == preset.crop_size

    def test_unknown_name__has_near_matches(self):
        with pytest.raises(ModelError, match="did you mean 'resnet50'"):
            load_model(ModelConfig("torchvision:resnet5O"))


class TestTimm:
    """Networks of timm."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        library("timm")

    def test_preprocessing__is_timms_own_pixel_by_pixel(self):
        import numpy as np
        from PIL import Image
        from timm.data import create_transform, resolve_model_data_config

        from nnviz.inputs.preparation.preprocessing import Preprocessing
        from nnviz.network.recording.normalizing import normalize

        loaded = load_model(ModelConfig("timm:resnet18", {"num_classes": 7}))
        pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
        transform = create_transform(**resolve_model_data_config(loaded.module))

        prepared = Preprocessing(loaded.preprocessing).prepare(pixels)
        values = normalize(
            torch.from_numpy(prepared.copy())[None], loaded.preprocessing
        )

        assert torch.equal(values[0], transform(Image.fromarray(pixels)))

    def test_unknown_name__has_near_matches(self):
        with pytest.raises(ModelError, match="did you mean"):
            load_model(ModelConfig("timm:resnet1_8"))


@pytest.mark.filterwarnings("ignore")
class TestTransformers:
    """Networks of transformers, from folders and from classes."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        library("transformers")

    @pytest.fixture
    def folder(self, tmp_path):
        import transformers

        config = transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[1, 1],
            layer_type="basic",
            id2label={0: "cat", 1: "dog", 2: "cow"},
        )
        transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps(
                {
                    "image_processor_type": "ConvNextImageProcessor",
                    "size": {"shortest_edge": 224},
                    "crop_pct": 0.875,
                    "resample": 3,
                    "image_mean": [0.1, 0.2, 0.3],
                    "image_std": [0.4, 0.5, 0.6],
                }
            )
        )
        return tmp_path

    def test_folder__brings_weights_preprocessing_and_names(self, folder):
        loaded = load_model(ModelConfig(f"transformers:{folder}"))
        again = load_model(ModelConfig(f"transformers:{folder}"))

        assert loaded.class_names == ("cat", "dog", "cow")
        assert loaded.fingerprint == again.fingerprint
        assert loaded.preprocessing == PreprocessingConfig(
            resize=256,
            crop=(224, 224),
            interpolation="bicubic",
            mean=(0.1, 0.2, 0.3),
            std=(0.4, 0.5, 0.6),
        )

    def test_folder__with_missing_weights_is_refused(self, folder):
        path = folder / "model.safetensors"
        weights = safetensors.torch.load_file(path)
        weights.pop("classifier.1.weight")
        safetensors.torch.save_file(weights, path, {"format": "pt"})

        with pytest.raises(ModelError, match=r"1 missing: classifier\.1\.weight"):
            load_model(ModelConfig(f"transformers:{folder}"))

    def test_folder__without_weights_takes_those_of_the_run_file(self, folder):
        wanted = load_model(ModelConfig(f"transformers:{folder}"))
        weights = folder.parent / "elsewhere.safetensors"
        (folder / "model.safetensors").rename(weights)

        with pytest.raises(ModelError, match=r"no weights .*model\.weights"):
            load_model(ModelConfig(f"transformers:{folder}"))
        found = load_model(ModelConfig(f"transformers:{folder}", weights=str(weights)))

        assert found == dataclasses.replace(wanted, module=found.module)

    def test_folder__of_a_network_whose_parts_cannot_be_imported_says_why(
        self, folder, monkeypatch
    ):
        """As vision transformers, where torchvision is broken."""
        import transformers

        broken = types.ModuleType("transformers")
        broken.AutoModelForImageClassification = None

        def find(name):
            cause = RuntimeError("operator torchvision::nms does not exist")
            raise ModuleNotFoundError(name) from cause

        broken.__getattr__ = find
        monkeypatch.setitem(sys.modules, "transformers", broken)
        assert transformers is not broken

        with pytest.raises(MissingDependencyError, match=r"torchvision that fits.*nms"):
            load_model(ModelConfig(f"transformers:{folder}"))

    @pytest.mark.parametrize("trust", [False, True], ids=["untrusted", "trusted"])
    def test_folder__runs_no_code_that_lies_in_its_weights(self, folder, trust):
        (folder / "model.safetensors").unlink()
        marker = folder / "marker"
        torch.save({"x": Gadget(str(marker))}, folder / "pytorch_model.bin")

        with pytest.raises(ModelError):
            load_model(ModelConfig(f"transformers:{folder}"), trust=trust)

        assert not marker.exists()

    def test_folder__with_code_needs_trust(self, folder):
        marker = folder / "marker"
        (folder / "modeling.py").write_text(f"open({str(marker)!r}, 'w')\n")
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModelForImageClassification": "modeling.Net"}
        (folder / "config.json").write_text(json.dumps(config))

        with pytest.raises(UntrustedCodeError, match="auto_map"):
            load_model(ModelConfig(f"transformers:{folder}"))

        assert not marker.exists()

    @pytest.mark.parametrize("name", ["ResNetConfig", "ResNetForImageClassification"])
    def test_class__is_built_untrained(self, name):
        arguments = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1]}

        loaded = load_model(ModelConfig(f"transformers:{name}", arguments))

        logits = loaded.module(torch.zeros(1, 3, 32, 32)).logits
        assert logits.shape == (1, 2)
        assert loaded.class_names == ()

    def test_what_is_nowhere__is_not_downloaded(self, tmp_path):
        with pytest.raises(ModelError, match="nnviz downloads nothing"):
            load_model(ModelConfig("transformers:microsoft/resnet-50"))
        with pytest.raises(ModelError, match="no class 'ResNetConfi'"):
            load_model(ModelConfig("transformers:ResNetConfi"))


BUILD = """from torch import nn
def build():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
"""


def weights_file(folder, change, **options):
    """Load a network from a file that `change` has made of its weights."""
    (folder / "n.py").write_text(BUILD)
    config = ModelConfig(f"{folder / 'n.py'}:build")
    wanted = load_model(config)
    torch.save(change(wanted.module.state_dict()), folder / "w.pth")
    found = load_model(
        dataclasses.replace(config, weights=str(folder / "w.pth"), **options)
    )
    return found, wanted


def behind(prefix, weights):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("prefix", ["encoder.", "a.b.c.", "student.module."])
def test_weights__any_prefix_that_fits_all_names_is_removed(tmp_path, prefix):
    rest = {"loss.weight": torch.ones(3), "n_averaged": torch.tensor(5)}

    found, wanted = weights_file(tmp_path, lambda w: behind(prefix, w) | rest)

    assert found.fingerprint == wanted.fingerprint
    assert found.notes == (
        f"weights: the prefix {prefix!r} was removed from their names",
        (
            "weights: 2 tensors of the file are not the network's and were left out: "
            "loss.weight, n_averaged"
        ),
    )


def test_weights__two_prefixes_that_fit_are_for_the_user_to_choose(tmp_path):
    def both(weights):
        other = {name: tensor + 1 for name, tensor in weights.items()}
        return behind("student.", other) | behind("teacher.", weights)

    with pytest.raises(ModelError, match=r"'student\.', 'teacher\.'; name one"):
        weights_file(tmp_path, both)
    found, wanted = weights_file(tmp_path, both, weights_prefix="teacher.")

    assert found.fingerprint == wanted.fingerprint


def test_weights__the_key_says_where_they_are(tmp_path):
    def file(weights):
        other = {name: tensor + 1 for name, tensor in weights.items()}
        return {"state_dict": other, "ema": {"shadow": weights, "decay": 0.9}}

    found, wanted = weights_file(tmp_path, file, weights_key="ema.shadow")

    assert found.fingerprint == wanted.fingerprint
    with pytest.raises(ModelError, match=r"has no 'ema\.shade' of model"):
        weights_file(tmp_path, file, weights_key="ema.shade")


def test_weights__numbers_beside_tensors_are_no_obstacle(tmp_path):
    found, wanted = weights_file(tmp_path, lambda w: {**w, "epoch": 3})

    assert found.fingerprint == wanted.fingerprint


def test_weights__other_objects_are_refused_with_the_way_out(tmp_path):
    def file(weights):
        return {"state_dict": weights, "args": argparse.Namespace(lr=0.1)}

    with pytest.raises(UntrustedCodeError, match="--trust does not change that: save"):
        weights_file(tmp_path, file)
