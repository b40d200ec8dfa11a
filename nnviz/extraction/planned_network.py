"""What does a task need of a plan's network? It, and what it records.

A worker loads it from the plan in the store, and refuses one that the plan was not made
of: tasks of one run must never mix two networks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnviz.extraction.planned import check_planned
from nnviz.inputs.models.loading import load_model
from nnviz.network.arguments import bind_inputs
from nnviz.network.recording.explaining import explained_outputs
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.two_outputs import TwoOutputs, with_two_outputs
from nnviz.runs.plan import Plan

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_planned_network", "planned_runtime", "whole_runtime"]


def load_planned_network(plan: Plan, *, trust: bool) -> nn.Module:
    """Load the plan's network, in evaluation mode, on the CPU.

    One with a single output for two classes gets one for each of them.

    Parameters
    ----------
    plan
        Plan of the store.
    trust
        Whether files that run code when read may be read.

    Raises
    ------
    PlanMismatchError
        If the weights are not those of the plan.
    """
    loaded = load_model(plan.model, trust=trust)
    check_planned("network", plan.fingerprints["model"], loaded.fingerprint)
    module = loaded.module
    if plan.two_outputs_of is not None:
        found = TwoOutputs(
            plan.two_outputs_of, plan.gives_probabilities, plan.two_outputs_are_direct
        )
        module = with_two_outputs(module, found)
    bind_inputs(module, plan.architecture.inputs)
    return module


def planned_runtime(plan: Plan, *, trust: bool) -> NetworkRuntime:
    """Load the plan's network, ready to record what the plan says."""
    return NetworkRuntime(
        load_planned_network(plan, trust=trust),
        plan.architecture,
        preprocessing=plan.preprocessing,
        extraction=plan.extraction,
        layer_dtypes=plan.layer_dtypes,
        explained=explained_outputs(plan.extraction, plan.class_names),
    )


def whole_runtime(plan: Plan, *, trust: bool) -> NetworkRuntime:
    """Load the plan's network, ready to record everything of single instances.

    Raises
    ------
    ModelError
        If the network has no gradients.
    """
    layers = tuple(replace(layer, shown=True) for layer in plan.architecture.layers)
    return NetworkRuntime(
        load_planned_network(plan, trust=trust),
        replace(plan.architecture, layers=layers),
        preprocessing=plan.preprocessing,
        extraction=replace(
            plan.extraction, targets="all", signal="peak", examples_per_channel=0
        ),
        layer_dtypes=plan.layer_dtypes,
        explained=Explained("prediction"),
    )
