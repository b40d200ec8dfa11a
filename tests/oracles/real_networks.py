"""ResNet-20 and SqueezeNet written out plainly in float64, from files to aggregates.

Shares no code with nnviz: pictures are opened with Pillow, networks are sequences of
torch functions over the tensors of the weights file, and everything is a plain loop.
"""

import collections

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def load_weights(path):
    return {name: tensor.double() for name, tensor in load_file(path).items()}


def open_picture(path, *, shorter_side=None, crop=None):
    """Return one picture, float64 (3, H, W), normalised."""
    picture = Image.open(path).convert("RGB")
    if shorter_side is not None:
        width, height = picture.size
        if width <= height:
            size = (shorter_side, int(shorter_side * height / width))
        else:
            size = (int(shorter_side * width / height), shorter_side)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    if crop is not None:
        width, height = picture.size
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        picture = picture.crop((left, top, left + crop, top + crop))
    values = np.asarray(picture, dtype=np.float64) / 255
    return torch.from_numpy(((values - MEAN) / STD).transpose(2, 0, 1))


def resnet20(weights, picture):
    """Return the maps by layer and the logits, (10,), of one picture."""
    maps = {}

    def normalised(x, name):
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return x * scale[:, None, None] + shift[:, None, None]

    def convolved(x, name, stride=1):
        return F.conv2d(x[None], weights[f"{name}.weight"], None, stride, 1)[0]

    x = torch.relu(normalised(convolved(picture, "conv1"), "bn1"))
    maps["conv1"] = x
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = convolved(x, f"{name}.conv1", stride)
            y = torch.relu(normalised(y, f"{name}.bn1"))
            maps[f"{name}.conv1"] = y
            y = normalised(convolved(y, f"{name}.conv2"), f"{name}.bn2")
            if stride == 2:
                kept = x[:, ::2, ::2]
                n_zero = (len(y) - len(kept)) // 2
                zeros = torch.zeros(n_zero, *kept.shape[1:], dtype=torch.float64)
                x = torch.cat([zeros, kept, zeros])
            x = torch.relu(y + x)
            maps[name] = x
    logits = weights["linear.weight"] @ x.mean((1, 2)) + weights["linear.bias"]
    maps["linear"] = logits
    return maps, logits


def squeezenet(weights, picture):
    """Return the maps by layer and the logits, (1000,), of one picture."""
    maps = {}

    def convolved(x, name, stride=1, padding=0):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.conv2d(x[None], weight, bias, stride, padding)[0]

    def pooled(x):
        return F.max_pool2d(x[None], 3, 2, ceil_mode=True)[0]

    x = torch.relu(convolved(picture, "features.0", 2))
    maps["features.0"] = x
    for number in (3, 4, 5, 7, 8, 9, 10, 12):
        if number in (3, 7, 12):
            x = pooled(x)
        name = f"features.{number}"
        squeezed = torch.relu(convolved(x, f"{name}.squeeze"))
        maps[f"{name}.squeeze"] = squeezed
        one = torch.relu(convolved(squeezed, f"{name}.expand1x1"))
        three = torch.relu(convolved(squeezed, f"{name}.expand3x3", padding=1))
        x = torch.cat([one, three])
        maps[name] = x
    x = torch.relu(convolved(x, "classifier.1"))
    maps["classifier.1"] = x
    return maps, x.mean((1, 2))


def maxima(activation_map):
    """Return the maximum of each channel, float64 (C,)."""
    return np.array([float(channel.max()) for channel in activation_map])


def top_channels(activations, share):
    """Return the channels of one instance that hold the share, by design's rule."""
    positive = [max(float(value), 0.0) for value in activations]
    total = sum(positive)
    order = sorted(range(len(positive)), key=lambda c: (-positive[c], c))
    taken, reached = [], 0.0
    for channel in order:
        if total == 0 or reached >= share * total:
            break
        taken.append(channel)
        reached += positive[channel]
    return taken


def counts_by_class(labels, rows, share):
    """Return {(label, channel): count} over instances."""
    counts = collections.Counter()
    for label, activations in zip(labels, rows, strict=True):
        for channel in top_channels(activations, share):
            counts[int(label), channel] += 1
    return counts


def resnet20_contributions(weights, picture):
    """Return, for every layer that others enter, all contributions to its channels.

    By layer a list with one entry for each edge in the order of the plan: (number of
    the source's channels, function from (target, source) to the largest contribution).
    """
    maps, _ = resnet20(weights, picture)
    found = {}

    def folded(conv, norm):
        scale = weights[f"{norm}.weight"] / torch.sqrt(
            weights[f"{norm}.running_var"] + 1e-5
        )
        return weights[f"{conv}.weight"] * scale[:, None, None, None]

    def by_convolution(x, weight, stride):
        def largest(target, source):
            one, kernel = x[source][None, None], weight[target, source][None, None]
            return float(F.conv2d(one, kernel, None, stride, 1).max())

        return len(x), largest

    def by_identity(x, first_target):
        def largest(target, source):
            return float(x[source].max()) if target == source + first_target else 0.0

        return len(x), largest

    x = maps["conv1"]
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            inner, out = maps[f"{name}.conv1"], maps[name]
            weight = folded(f"{name}.conv1", f"{name}.bn1")
            found[f"{name}.conv1"] = [by_convolution(x, weight, stride)]
            shortcut = x[:, ::stride, ::stride]
            weight = folded(f"{name}.conv2", f"{name}.bn2")
            found[name] = [
                by_convolution(inner, weight, 1),
                by_identity(shortcut, (len(out) - len(x)) // 2),
            ]
            x = out
    pooled, weight = x.mean((1, 2)), weights["linear.weight"]
    found["linear"] = [(len(pooled), lambda j, i: float(weight[j, i] * pooled[i]))]
    return found


def strongest_sources(edges, target, ranks):
    """Return the strongest sources of one target, joint over edges: (number, value)."""
    values, offset = [], 0
    for n_sources, largest in edges:
        values += [(offset + i, largest(target, i)) for i in range(n_sources)]
        offset += n_sources
    positive = [item for item in values if item[1] > 0]
    return sorted(positive, key=lambda item: (-item[1], item[0]))[:ranks]
