"""Families of networks from the libraries that people use, with random weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.network.analysis.outputs import logits_of
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.tracing import trace
from tests.oracles.autograd_cut import predecessors

# Some of these libraries warn of each other's, and of their own, coming changes.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


def _torchvision(name, size=64, **options):
    def build():
        models = pytest.importorskip("torchvision.models", exc_type=ImportError)
        return models.get_model(name, weights=None, **options), (3, size, size)

    return build


def _of_stages(stages, size=32):
    """Return what builds a network with fewer of the blocks that are alike."""

    def build():
        pytest.importorskip("torchvision", exc_type=ImportError)
        return stages(), (3, size, size)

    return build


def _resnext():
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 2, 2, 1], groups=32, width_per_group=4)


def _densenet():
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=32, block_config=(3, 4, 4, 3), num_init_features=64)


def _mobilenet_v2():
    from torchvision.models import MobileNetV2

    # Factor of expansion, channels, blocks, stride.
    settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2), (6, 64, 1, 2)]
    settings += [(6, 96, 1, 1), (6, 160, 1, 2), (6, 320, 1, 1)]
    return MobileNetV2(inverted_residual_setting=settings)


def _efficientnet():
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    # Factor of expansion, kernel, stride, channels before and behind, blocks.
    settings = [(1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 1)]
    settings += [(6, 3, 2, 40, 80, 1), (6, 5, 1, 80, 112, 2), (6, 5, 2, 112, 192, 1)]
    settings += [(6, 3, 1, 192, 320, 1)]
    return EfficientNet([MBConvConfig(*one) for one in settings], dropout=0.2)


def _regnet():
    from torchvision.models.regnet import BlockParams, RegNet

    return RegNet(
        BlockParams(
            depths=[1, 2, 2, 1], widths=[48, 104, 208, 440], group_widths=[8] * 4,
            bottleneck_multipliers=[1.0] * 4, strides=[2] * 4, se_ratio=0.25,
        )
    )  # fmt: skip


def _shufflenet():
    from torchvision.models import ShuffleNetV2

    return ShuffleNetV2([2, 3, 2], [24, 48, 96, 192, 1024])


def _narrow(name, size, width=128, **options):
    """Return what builds a network whose dense layers are not 4,096 wide."""

    def build():
        with torch.device("meta"):
            network, shape = _torchvision(name, size, **options)()
        last = network.classifier
        dense = [i for i, layer in enumerate(last) if isinstance(layer, nn.Linear)]
        widths = [last[dense[0]].in_features, *[width] * (len(dense) - 1), 1000]
        for place, i in enumerate(dense):
            last[i] = nn.Linear(*widths[place : place + 2], device="meta")
        network.to_empty(device="cpu")
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return network, shape

    return build


def _swin(size=64):
    def build():
        models = pytest.importorskip("torchvision.models", exc_type=ImportError)
        network = models.SwinTransformer(
            patch_size=[4, 4], embed_dim=24, depths=[2, 2, 2],
            num_heads=[1, 2, 4], window_size=[7, 7],
        )  # fmt: skip
        return network, (3, size, size)

    return build


def _timm(name, size=64, **options):
    def build():
        timm = pytest.importorskip("timm", exc_type=ImportError)
        return timm.create_model(name, pretrained=False, **options), (3, size, size)

    return build


def _transformers(config, size=32, **options):
    def build():
        library = pytest.importorskip("transformers", exc_type=ImportError)
        made = getattr(library, config)(image_size=size, **options)
        model = library.AutoModelForImageClassification.from_config(made)
        return model, (3, size, size)

    return build


# Those of SHOWN first, then those of CUT: at equal places pytest makes them once.
FAMILIES = {
    "googlenet": _torchvision("googlenet", init_weights=False),
    "resnet18": _torchvision("resnet18"),
    "squeezenet": _torchvision("squeezenet1_0"),
    "alexnet": _narrow("alexnet", 64),
    "resnext": _of_stages(_resnext),
    "mobilenet_v2": _of_stages(_mobilenet_v2),
    "mobilenet_v3": _torchvision("mobilenet_v3_small", 32),
    "efficientnet": _of_stages(_efficientnet),
    "inception_v3": _torchvision("inception_v3", 107, init_weights=False),
    "regnet": _of_stages(_regnet),
    "timm resnet": _timm("resnet10t"),
    "vgg11_bn": _narrow("vgg11_bn", 32, init_weights=False),
    "densenet": _of_stages(_densenet),
    "shufflenet": _of_stages(_shufflenet),
    "convnext": _timm("convnext_atto", 32, depths=(1, 2, 2, 1)),
    "swin": _swin(),
    "timm efficientnet": _timm("tf_efficientnet_lite0", 32),
    "timm vit": _timm("vit_tiny_patch16_224", 96, img_size=96, depth=3),
    "transformers resnet": _transformers(
        "ResNetConfig", embedding_size=8, hidden_sizes=[8, 16, 16, 24], depths=[1] * 4
    ),
    "transformers vit": _transformers(
        "ViTConfig", hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, patch_size=8,
    ),
    "transformers convnext": _transformers(
        "ConvNextConfig", hidden_sizes=[8, 16, 16, 24], depths=[1] * 4
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request):
    """Return a network, two instances and the architecture; made once for all tests."""
    torch.manual_seed(3)
    network, shape = FAMILIES[request.param]()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Linear):
            # Heads that start as zeros would hide everything before them.
            nn.init.uniform_(module.weight, -0.09, 0.09)
    x = torch.randn(2, *shape)
    return network.eval(), x, trace(network, x[:1])


def test_family__every_layer_is_entered_and_validated(family):
    _, _, architecture = family

    assert architecture.problems == ()
    assert architecture.validation_error < 1e-5
    entered = {edge.target for edge in architecture.edges}
    assert [
        layer.name for layer in architecture.layers if layer.name not in entered
    ] == [architecture.layers[0].name]


def test_family__maxima_are_those_of_plain_hooks(family):
    network, x, architecture = family
    by_module = [layer for layer in architecture.layers if "@" not in layer.node]
    modules, expected, handles = dict(network.named_modules()), {}, []
    for layer in by_module:

        def keep(module, arguments, output, layer=layer):
            output = output[0] if isinstance(output, tuple) else output
            # Windows of one instance follow each other on the first axis.
            rows = output.movedim(layer.channel_axis, -1)
            rows = rows.reshape(len(x), -1, layer.n_channels)
            expected.setdefault(layer.name, rows.amax(1))

        handles.append(modules[layer.node].register_forward_hook(keep))
    with torch.no_grad():
        output = network(x)
    for handle in handles:
        handle.remove()

    with Recorder(network, architecture) as recorder:
        captured = recorder.run(x)

    assert len(by_module) >= 2
    for layer in by_module:
        # Attention that is taken apart rounds differently.
        torch.testing.assert_close(
            captured.activations[layer.name], expected[layer.name], rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(captured.logits, logits_of(output), rtol=1e-4, atol=1e-5)


def test_family__folding_changes_only_the_rounding(family):
    network, x, architecture = family
    folded = optimize(network, architecture=architecture)

    with Recorder(network, architecture) as recorder:
        plain = recorder.run(x)
    with Recorder(folded, architecture) as recorder:
        fast = recorder.run(x.contiguous(memory_format=torch.channels_last))

    for layer, activations in plain.activations.items():
        scale = activations.abs().max()
        assert (fast.activations[layer] - activations).abs().max() < 2e-5 * scale, layer


CUT = list(FAMILIES)[:11]


@pytest.mark.parametrize("family", CUT, indirect=True)
def test_family__edges_are_those_of_the_autograd_cut(family):
    network, x, architecture = family
    node = {layer.name: layer.node for layer in architecture.layers}

    found = predecessors(network, set(node.values()), x[:1])

    edges = {(node[edge.source], node[edge.target]) for edge in architecture.edges}
    assert edges == {(s, target) for target, sources in found.items() for s in sources}


SHOWN = {
    "googlenet": ["conv1", "conv2", "conv3"]
    + [
        f"inception{block}"
        for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    ]
    + ["fc"],
    "resnet18": ["conv1"]
    + [
        f"layer{block}"
        for block in ("1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1")
    ]
    + ["fc"],
    "squeezenet": ["features.0"]
    + [f"features.{fire}" for fire in (3, 4, 5, 7, 8, 9, 10, 12)]
    + ["classifier.1"],
}


@pytest.mark.parametrize(
    ("family", "expected"), list(SHOWN.items()), indirect=["family"], ids=list(SHOWN)
)
def test_family__shows_its_blocks(family, expected):
    _, _, architecture = family

    assert [layer.name for layer in architecture.shown] == expected
