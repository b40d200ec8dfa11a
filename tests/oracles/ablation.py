"""Mean ablation written out plainly: own hooks, float64, an instance at a time.

Shares no code with nnviz. Layers are module names whose output, after an optional
rectifier that the network applies itself, is changed.
"""

import numpy as np
import torch


def hooked(network, changes):
    """Put a hook on each module, and return what takes them away."""
    handles = []
    for name, change in changes.items():
        module = network.get_submodule(name)

        def hook(module, arguments, output, change=change):
            return change(torch.relu(output))

        handles.append(module.register_forward_hook(hook))
    return handles


def channel_means(network, inputs, layers):
    """Return {layer: [mean of each channel over instances and positions]}."""
    sums = dict.fromkeys(layers)

    def keep(layer):
        def change(output):
            rows = [float(channel.mean()) for channel in output[0]]
            sums[layer] = (
                rows
                if sums[layer] is None
                else [a + b for a, b in zip(sums[layer], rows, strict=True)]
            )
            return output

        return change

    handles = hooked(network, {layer: keep(layer) for layer in layers})
    for one in inputs:
        network(torch.from_numpy(one)[None])
    for handle in handles:
        handle.remove()
    return {layer: [v / len(inputs) for v in row] for layer, row in sums.items()}


def ablated_logits(network, inputs, ablated, means):
    """Return the logits of each instance, (n, class), with channels at their means."""

    def replace(layer):
        def change(output):
            output = output.clone()
            for channel in ablated[layer]:
                output[0, int(channel)] = means[layer][int(channel)]
            return output

        return change

    handles = hooked(network, {layer: replace(layer) for layer in ablated})
    rows = [network(torch.from_numpy(one)[None])[0].numpy() for one in inputs]
    for handle in handles:
        handle.remove()
    return np.array(rows)


def softmax(row):
    """Return probabilities of one row of logits."""
    exponentials = [float(np.exp(value - max(row))) for value in row]
    return [value / sum(exponentials) for value in exponentials]
