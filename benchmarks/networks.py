"""Which networks do the benchmarks run? Standard definitions, without torchvision.

The names of the tensors are those under which the published weights are found: those
of torchvision for SqueezeNet and ResNet-18, and for the ResNets of CIFAR-10
``conv1, bn1, layer{1,2,3}.{block}.{conv1,bn1,conv2,bn2}, linear``.

References
----------
.. [1] He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
       sections 3.3 and 4.2.
.. [2] Iandola et al., "SqueezeNet", arXiv:1602.07360, 2016, table 1.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "CifarResNet",
    "ResNet18",
    "SqueezeNet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet56",
    "squeezenet1_0",
    "tiny",
]


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A of [1])."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.stride = stride
        self.n_padded = (n_outputs - n_inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.n_padded:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.n_padded, self.n_padded))
        return functional.relu(out + x)


class CifarResNet(nn.Module):
    """A residual network for images of 32 x 32 pixels, as in section 4.2 of [1].

    Parameters
    ----------
    n_blocks
        Residual blocks in each of the three stages; the depth is ``6 n_blocks + 2``.
    n_classes
        Number of outputs.
    """

    def __init__(self, n_blocks: int, n_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, n_blocks, stride=1)
        self.layer2 = _stage(16, 32, n_blocks, stride=2)
        self.layer3 = _stage(32, 64, n_blocks, stride=2)
        self.linear = nn.Linear(64, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = functional.adaptive_avg_pool2d(out, 1).flatten(1)
        logits: Tensor = self.linear(out)
        return logits


def _stage(n_inputs: int, n_outputs: int, n_blocks: int, *, stride: int) -> nn.Module:
    blocks = [_Block(n_inputs, n_outputs, stride)]
    blocks += [_Block(n_outputs, n_outputs, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class _ProjectedBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that is projected (option B of [1])."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or n_inputs != n_outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(n_outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + shortcut)
        return result


class ResNet18(nn.Module):
    """A residual network for photographs, table 1 of [1].

    Parameters
    ----------
    n_classes
        Number of outputs.
    """

    def __init__(self, n_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [64, 64, 128, 256, 512]
        for stage, (n_inputs, n_outputs) in enumerate(itertools.pairwise(widths), 1):
            blocks = nn.Sequential(
                _ProjectedBlock(n_inputs, n_outputs, 1 if stage == 1 else 2),
                _ProjectedBlock(n_outputs, n_outputs, 1),
            )
            self.add_module(f"layer{stage}", blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(out), 1))
        return logits


class _Fire(nn.Module):
    """A 1x1 convolution, then 1x1 and 3x3 convolutions beside each other."""

    def __init__(self, n_inputs: int, n_squeezed: int, n_expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n_inputs, n_squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(n_squeezed, n_expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(n_squeezed, n_expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        narrow = self.expand1x1_activation(self.expand1x1(x))
        wide = self.expand3x3_activation(self.expand3x3(x))
        return torch.cat([narrow, wide], dim=1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0, table 1 of [2]; its last ReLU makes all logits non-negative.

    Parameters
    ----------
    n_classes
        Number of outputs.
    """

    def __init__(self, n_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(96, 16, 64),
            _Fire(128, 16, 64),
            _Fire(128, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(256, 32, 128),
            _Fire(256, 48, 192),
            _Fire(384, 48, 192),
            _Fire(384, 64, 256),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Conv2d(512, n_classes, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def resnet20(n_classes: int = 10) -> CifarResNet:
    """Return an untrained ResNet-20 for 32 x 32 pixels."""
    return CifarResNet(3, n_classes)


def resnet32(n_classes: int = 10) -> CifarResNet:
    """Return an untrained ResNet-32 for 32 x 32 pixels."""
    return CifarResNet(5, n_classes)


def resnet56(n_classes: int = 10) -> CifarResNet:
    """Return an untrained ResNet-56 for 32 x 32 pixels."""
    return CifarResNet(9, n_classes)


def resnet18(n_classes: int = 1000) -> ResNet18:
    """Return an untrained ResNet-18 for photographs."""
    return ResNet18(n_classes)


def squeezenet1_0(n_classes: int = 1000) -> SqueezeNet:
    """Return an untrained SqueezeNet 1.0."""
    return SqueezeNet(n_classes)


def tiny(n_classes: int = 10) -> nn.Sequential:
    """Return an untrained network that costs almost nothing, for grey 8 x 8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, n_classes),
    )
