"""Which layers feed which? By cutting the autograd graph at the layers.

Every module at which a layer is read has its output replaced by a fresh leaf, after the
leaves that its gradient function leads to were noted: they are its direct predecessors.
Shares no code with nnviz; works where every layer is the output of a module.
"""

import torch


def predecessors(model, nodes, batch):
    """Return {node: set of nodes} for modules given as ``path`` or ``path@call``."""
    modules = dict(model.named_modules())
    leaves, found, calls = {}, {}, {}

    def cut(path):
        def hook(module, arguments, output):
            calls[path] = calls.get(path, 0) + 1
            node = path if calls[path] == 1 else f"{path}@{calls[path]}"
            if node not in nodes:
                return None
            found[node] = _reached(output, leaves)
            leaf = output.detach().clone().requires_grad_()
            leaves[_accumulator(leaf)] = node
            kept.append(leaf)
            return leaf.clone()

        return hook

    kept = []
    handles = [
        modules[path].register_forward_hook(cut(path))
        for path in {node.split("@")[0] for node in nodes}
    ]
    try:
        with torch.enable_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _accumulator(leaf):
    return leaf.view_as(leaf).grad_fn.next_functions[0][0]


def _reached(tensor, leaves):
    pending, seen, found = [tensor.grad_fn], set(), set()
    while pending:
        function = pending.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if function in leaves:
            found.add(leaves[function])
            continue
        pending += [item[0] for item in function.next_functions]
    return found
