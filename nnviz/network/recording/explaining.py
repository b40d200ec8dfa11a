"""Which outputs are explained, as the run file says it?"""

from __future__ import annotations

from collections.abc import Sequence

from nnviz.errors import PlanError, UnknownNameError, did_you_mean
from nnviz.importing import import_callable
from nnviz.network.recording.gradients import Explained
from nnviz.runs.config import ExtractionConfig

__all__ = ["explained_outputs"]


def explained_outputs(
    extraction: ExtractionConfig, class_names: Sequence[str]
) -> Explained | None:
    """Return what the options ask for; None: nothing.

    Parameters
    ----------
    extraction
        Its options ``relevance``, ``relevance_outputs`` and ``relevance_signal``.
    class_names
        Names of the network's outputs, in their order.

    Raises
    ------
    PlanError
        If options contradict each other, or the signal cannot be imported.
    UnknownNameError
        If there is no such class.
    """
    names, what = extraction.relevance_outputs, extraction.relevance
    if (what == "output") != bool(names) or len(names) > 2:
        msg = (
            f"extraction.relevance is {what!r} and relevance_outputs has {len(names)} "
            "classes; relevance = 'output' needs one class, or two for their "
            "difference, and nothing else takes any"
        )
        raise PlanError(msg)
    if what == "none":
        return None
    for name in names:
        if name not in class_names:
            msg = (
                f"extraction.relevance_outputs has {name!r}, which is no class"
                f"{did_you_mean(name, class_names)}; the network has "
                f"{len(class_names):,} classes"
            )
            raise UnknownNameError(msg)
    source = extraction.relevance_signal
    return Explained(
        what,
        tuple(class_names.index(name) for name in names),
        None if source is None else import_callable(source, error_type=PlanError),
    )
