"""Is the only output of a network the logit of two classes, or a value?

The network cannot say, so the labels do. They are of two classes where

1. the outputs are named, in the run file or by the caller, by two names;
2. the data set knows two classes, such as two folders;
3. there is a class map;
4. the labels are 0 and 1, or -1 and 1 (0 and 1 where all three are there, and -1 is no
   label), however they are written, or two names.

Labels of all other numbers are values that are measured, or classes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnviz.inputs.datasets.opening import Dataset
from nnviz.planning.whole_numbers import is_number, whole_number
from nnviz.runs.architecture import Architecture
from nnviz.runs.config import ClassesConfig

__all__ = ["NOT_SPLIT", "has_one_output", "means_two_classes", "notes_on_one_output"]

NOT_SPLIT = (
    "the network has one output for two classes, and it is not what a linear layer "
    "gives, a sum of such layers, or a sigmoid of these: there are no predictions; for "
    "these, name a network (or a function that builds it) whose forward gives both, "
    "such as torch.stack([-z / 2, z / 2], 1) of the logit z"
)


def has_one_output(architecture: Architecture) -> bool:
    """Whether a network has a single number as the output for an instance."""
    return architecture.output_shape in ((), (1,))


def means_two_classes(
    dataset: Dataset, classes: ClassesConfig, class_names: Sequence[str]
) -> bool:
    """Whether the labels are two classes, where the network has one output.

    Parameters
    ----------
    dataset
        As it is listed.
    classes
        The ``[classes]`` table of the run file.
    class_names
        Names of the outputs, as stated; may be empty.
    """
    if dataset.labels is None:
        return len(class_names) == 2
    values = {value for value in dataset.labels.tolist() if value is not None}
    if any(isinstance(value, tuple) for value in values):
        return False
    if classes.map is not None or len(class_names) == 2:
        return True
    if class_names:
        return False
    if len(dataset.class_names) == 2:
        return True
    if all(map(is_number, values)):
        numbers = {whole_number(value) for value in values}
        return numbers == {-1, 1} or (numbers <= {-1, 0, 1} and 0 in numbers)
    return len(values) == 2 and not any(map(is_number, values))


def notes_on_one_output(dataset: Dataset) -> tuple[str, ...]:
    """Say what labels of a network with one output could have meant otherwise."""
    values = [] if dataset.labels is None else dataset.labels.tolist()
    if any(isinstance(value, tuple) for value in values):
        return ()
    names = {v for v in values if v is not None and not is_number(v)}
    if len(names) <= 2:
        return ()
    note = (
        f"the labels are {len(names)} names, and the network has one output, which "
        "is none of them: they are subsets, and there are no predictions"
    )
    return (note,)
