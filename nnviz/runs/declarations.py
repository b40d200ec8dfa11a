"""What does every array of a store mean? Each is declared once.

The registry makes the attributes that every array carries, and the table of the store.
"""

from __future__ import annotations

import math

from nnviz.runs.array_declaration import ArrayDeclaration
from nnviz.runs.asked_of_network import ASKED_OF_NETWORK

__all__ = [
    "CONTENTS",
    "ERROR",
    "FLOAT16_MAX",
    "GRADIENT_NORM_SUMS",
    "LABEL_SETS",
    "MARK_FIELDS",
    "OUTCOME_COLUMNS",
    "POSITION",
    "RELEVANCE_PARTS",
    "RELEVANCE_SUMS",
    "RESERVED_COLUMNS",
    "TARGET",
    "VALUE_COLUMNS",
    "declaration_of",
    "markdown_table",
]

LABEL_SETS = "labels"
"""Metadata column of instances with several labels: texts, each a JSON list."""
TARGET = "target"
"""Column of labels that are measured values, unless the run names it otherwise."""
ERROR = "error"
"""Column of how far the output is from them."""


FLOAT16_MAX = 65_504.0
"""The largest number that float16 holds."""


CONTENTS = "dataset/contents"
"""Array of the hashes of what was read, by which a changed instance is known."""


POSITION = "dataset/position"
"""Array that says which instance of the data set a row is."""


RELEVANCE_PARTS = ("product", "gradient", "mean", "norm")
"""What is kept of a channel's relevance; runs from before have all but the last."""


RELEVANCE_SUMS = (
    "relevance_sum",
    "gradient_sum",
    "position_mean_sum",
    "relevance_sum_of_squares",
    "relevance_gradient_sum",
    "gradient_sum_of_squares",
)
"""What is summed of it over a subset: means and variances against any reference."""


GRADIENT_NORM_SUMS = ("gradient_norm_sum", "gradient_norm_sum_of_squares")
"""What is summed of the gradients' norms, where a run has them."""


MARK_FIELDS = ("done", "n_instances", "n_unreadable", "n_saturated")
"""First fields of a completion mark; one CRC-32 for each array of the chunk follows."""


_DECLARATIONS = (
    ArrayDeclaration(
        "instances/id", ("instance",), "string", "",
        "Unique name of the instance; for files the path relative to the root.",
        "",
    ),
    ArrayDeclaration(
        "instances/label", ("instance",), "int32", "class index",
        "True class in the order of the network's outputs; -1 where there is none.", -1,
    ),
    ArrayDeclaration(
        "instances/<metadata column>", ("instance",), "any", "",
        "A column of the data set's table.",
    ),
    ArrayDeclaration(
        "instances/prediction", ("instance",), "int32", "class index",
        "Class with the largest output, ties to the lower index; -1 for no classifier.",
        -1,
    ),
    ArrayDeclaration(
        "instances/confidence", ("instance",), "float32", "probability",
        "Softmax probability of the predicted class; NaN for no classifier.", math.nan,
    ),
    ArrayDeclaration(
        "instances/probability", ("instance",), "float32", "probability",
        "Softmax probability of the true class; NaN where there is no label.", math.nan,
    ),
    ArrayDeclaration(
        "instances/margin", ("instance",), "float32", "probability",
        "Softmax probability of the predicted class less that of the second; NaN for "
        "no classifier.", math.nan,
    ),
    ArrayDeclaration(
        "instances/entropy", ("instance",), "float32", "nat",
        "Entropy of the softmax probabilities; NaN for no classifier.", math.nan,
    ),
    ArrayDeclaration(
        "instances/loss", ("instance",), "float32", "nat",
        "Cross entropy: minus the logarithm of the true class's probability; NaN where "
        "there is no label.", math.nan,
    ),
    ArrayDeclaration(
        "instances/rank", ("instance",), "int32", "",
        "Place of the true class among the outputs, from 1; ties to the lower index; "
        "-1 where there is no label.", -1,
    ),
    ArrayDeclaration(
        "instances/output", ("instance",), "float32", "",
        "The output of a network that gives a single value.", math.nan,
    ),
    ArrayDeclaration(
        "instances/error", ("instance",), "float32", "unit of the target",
        "That output less the target; NaN where there is no target.", math.nan,
    ),
    ArrayDeclaration(
        "instances/absolute_error", ("instance",), "float32", "unit of the target",
        "How far the output is from the target; NaN where there is no target.",
        math.nan,
    ),
    ArrayDeclaration(
        "instances/status", ("instance",), "string", "",
        "Empty for a usable instance, else the reason why it is excluded everywhere.",
        "",
    ),
    ArrayDeclaration(
        "activations/<layer>", ("instance", "channel"), "float16", "layer output",
        "Maximum of the channel over all positions; float32 where the plan says so.",
        math.nan,
    ),
    ArrayDeclaration(
        "influences/<target layer>/target", ("instance", "target"), "int16",
        "channel index",
        "Target channels whose influences are kept, ascending; -1 fills the row.", -1,
    ),
    ArrayDeclaration(
        "influences/<target layer>/source", ("instance", "target", "rank"), "int16",
        "channel index",
        "The strongest sources, numbered over all entering edges in plan order; -1 for "
        "none; int32 where there are more than 32,767.", -1,
    ),
    ArrayDeclaration(
        "influences/<target layer>/influence", ("instance", "target", "rank"),
        "float32", "pre-activation of the target",
        "What each of these sources contributes to the target; signed with "
        "extraction.signal = 'peak'.", 0.0,
    ),
    ArrayDeclaration(
        "influences/<target layer>/remainder", ("instance", "target"), "float32",
        "pre-activation of the target",
        "With extraction.signal = 'peak': what all other sources and the bias add; "
        "with the influences it is the pre-activation at the target's peak.", 0.0,
    ),
    ArrayDeclaration(
        "relevance/<layer>/product", ("instance", "channel"), "float32", "output",
        "Sum over positions of activation times the gradient of the explained output "
        "(extraction.relevance), or what extraction.relevance_signal makes of them.",
        math.nan,
    ),
    ArrayDeclaration(
        "relevance/<layer>/gradient", ("instance", "channel"), "float32",
        "output per layer output",
        "Sum over positions of that gradient. Against a reference r the relevance of a "
        "channel is product - r * gradient.", math.nan,
    ),
    ArrayDeclaration(
        "relevance/<layer>/mean", ("instance", "channel"), "float32", "layer output",
        "Mean of the channel over all positions, of which references are made.",
        math.nan,
    ),
    ArrayDeclaration(
        "relevance/<layer>/norm", ("instance", "channel"), "float32",
        "output per layer output",
        "Euclidean norm of that gradient over positions: how much the output can "
        "change with the channel, in either direction.", math.nan,
    ),
    ArrayDeclaration(
        "peaks/<layer>/instance", ("chunk", "channel", "rank"), "int64",
        "instance index",
        "The chunk's instances that excite the channel most, strongest first; -1 for "
        "none.", -1,
    ),
    ArrayDeclaration(
        "peaks/<layer>/position", ("chunk", "channel", "rank"), "int32",
        "row-major position",
        "Where in the layer's positions that maximum lies, the first of equals; of a "
        "text the token, before any other axis.", -1,
    ),
    ArrayDeclaration(
        "peaks/<layer>/value", ("chunk", "channel", "rank"), "float32", "layer output",
        "That maximum.", math.nan,
    ),
    ArrayDeclaration(
        "dataset/position", ("instance",), "int64", "index in the data set",
        "Which instance of the data set the row is; only in a store that was extended, "
        "in others it is the row's own number.", -1,
    ),
    ArrayDeclaration(
        "dataset/contents", ("instance",), "uint64", "",
        "64 bits of BLAKE2b of the instance as it was read by the plan, 0 where it "
        "could not be; only with dataset.fingerprint_contents = 'full'.",
    ),
    ArrayDeclaration(
        "extraction_done", ("chunk", "field"), "int64", "",
        "Completion mark of each chunk: " + ", ".join(MARK_FIELDS)
        + ", then the CRC-32 of each array's part in the order of the root's attribute "
        "'chunk_arrays': of its bytes in C order and little-endian, of texts in UTF-8 "
        "with a zero byte between them.",
    ),
    *(
        ArrayDeclaration(
            f"{group}/<dtype>", (axis, "column"), "any", "",
            f"The columns of {held} that have this dtype, side by side; the attribute "
            "'columns' says where each begins, and its shape.",
        )
        for group, axis, held in (
            ("outcomes", "instance", "what a task fills of instances/"),
            ("activations", "instance", "activations/<layer>"),
            ("influences", "instance", "influences/<target layer>/"),
            ("relevance", "instance", "relevance/<layer>/"),
            ("peaks", "chunk", "peaks/<layer>/"),
        )
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/n_instances", ("subset",), "int64", "instances",
        "Usable instances of the subset.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/membership", ("subset", "instance"), "bool, CSR", "",
        "Which usable instances belong to which subset, where that does not follow "
        "from the instance table.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/activation_counts/<layer>", ("subset", "channel"),
        "int64, CSR", "instances",
        "In how many of the subset's instances the channel is a top channel.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/activation_sum/<layer>", ("subset", "channel"), "float64",
        "layer output", "Sum of the activations, for the mean.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/activation_sum_of_squares/<layer>", ("subset", "channel"),
        "float64", "layer output squared", "Sum of the squares, for the variance.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/activation_maximum/<layer>", ("subset", "channel"),
        "float32", "layer output", "Largest activation; NaN for an empty subset.",
    ),
    *(
        ArrayDeclaration(
            f"aggregates/<subsets>/{name}/<layer>", ("subset", "channel"), "float64",
            unit, meaning,
        )
        for name, unit, meaning in (
            ("relevance_sum", "output", "Sum of relevance/<layer>/product."),
            (
                "gradient_sum", "output per layer output",
                "Sum of relevance/<layer>/gradient.",
            ),
            (
                "position_mean_sum", "layer output",
                "Sum of relevance/<layer>/mean, of which references are made.",
            ),
            ("relevance_sum_of_squares", "output squared", "Sum of squared products."),
            (
                "relevance_gradient_sum", "output squared per layer output",
                "Sum of product times gradient.",
            ),
            (
                "gradient_sum_of_squares", "squared output per layer output",
                "Sum of squared gradients.",
            ),
            (
                "gradient_norm_sum", "output per layer output",
                "Sum of relevance/<layer>/norm.",
            ),
            (
                "gradient_norm_sum_of_squares", "squared output per layer output",
                "Sum of squared norms.",
            ),
        )
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/influence_counts/<target layer>",
        ("subset", "target x source"), "int64, CSR", "instances",
        "In how many instances a source is among the K strongest of a target; column "
        "target * n_sources + source.",
    ),
    ArrayDeclaration(
        "aggregates/<subsets>/influence_sums/<target layer>",
        ("subset", "target x source"), "float64, CSR", "pre-activation of the target",
        "Sum of the kept influences of a source on a target.",
    ),
    ArrayDeclaration(
        "artifacts/<subsets>/similarity/<layer>", ("subset", "subset"), "float32",
        "cosine",
        "Cosine of the subsets' activation counts; NaN for a subset without counts.",
    ),
    ArrayDeclaration(
        "artifacts/<subsets>/embedding/<layer>", ("subset", "axis"), "float32", "",
        "2-D coordinates of the subsets, each layer started from the one before.",
    ),
    ArrayDeclaration(
        "artifacts/attribution_graphs/<subsets>/<preset>/<node field>", ("node",),
        "any", "",
        "Kept nodes of all subsets, one after another: layer, channel, count, "
        "base_count, score, x (place in its row), strongest_* (node, rank).",
    ),
    ArrayDeclaration(
        "artifacts/attribution_graphs/<subsets>/<preset>/<arc field>", ("arc",),
        "any", "",
        "Kept arcs: source and target (nodes of the same graph), arc_count, "
        "arc_base_count.",
    ),
    ArrayDeclaration(
        "artifacts/attribution_graphs/<subsets>/<preset>/halves",
        ("subset", "node or arc"), "float64", "fraction",
        "How many of their nodes and arcs the graphs of two random halves of a subset "
        "share; NaN where that was not counted. Not in stores of earlier versions.",
    ),
    ArrayDeclaration(
        "artifacts/attribution_graphs/<subsets>/<preset>/node_offset", ("subset + 1",),
        "int64", "nodes",
        "Where each subset's nodes begin; arc_offset: its arcs. In the attributes: "
        "what several graphs share (motifs).",
    ),
    ArrayDeclaration(
        "index/<piece>/activations_<dtype>", ("instance", "channel"), "any",
        "layer output", "Rows of all shown layers of this dtype, in plan order.",
    ),
    ArrayDeclaration(
        "index/<piece>/row_crc32_<dtype>", ("instance",), "uint32", "",
        "CRC-32 of each of these rows.",
    ),
    ArrayDeclaration(
        "index/<piece>/strip_crc32c", ("chunk x strip",), "uint32", "",
        "CRC-32C of each strip of neighbouring channels (an inner chunk of the "
        "activations) of each chunk, of one shown layer after the other.",
    ),
    ArrayDeclaration(
        "index/columns/values/<column>", ("instance",), "any", "",
        "A column of the instance table; of texts their codes, by first appearance.",
    ),
    ArrayDeclaration(
        "index/columns/texts/<column>", ("byte",), "uint8", "",
        "The distinct texts of a column in UTF-8, by their code, with a character "
        "between two of them that none of them has.",
    ),
    ArrayDeclaration(
        "index/<piece>/<held>", ("entry",), "any", "",
        "`top_channels`, numbered over all layers; `pairs` of target and source, over "
        "all targets; `influences`, float32: of one instance after the other.",
    ),
    ArrayDeclaration(
        "index/<piece>/<held>_offsets", ("instance + 1",), "int64", "entries",
        "Where each instance begins, and where the last one ends.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/instance", ("channel", "rank"), "int64",
        "instance index",
        "The instances that excite the channel most, strongest first; -1 for none.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/value", ("channel", "rank"), "float32",
        "layer output", "The channel's activation there.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/position", ("channel", "rank"), "int32",
        "row-major position", "Where the maximum lies.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/box", ("channel", "rank", "edge"), "float32",
        "pixels of the stored image",
        "Left, top, right, bottom of what that position sees.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/picture_bytes", ("byte",), "uint8", "PNG or JPEG",
        "The pictures of these parts, one after another.",
    ),
    ArrayDeclaration(
        "artifacts/examples/<layer>/picture_offsets", ("channel x rank + 1",), "int64",
        "bytes", "Where each picture begins; an empty one has no picture.",
    ),
    ArrayDeclaration(
        "artifacts/instance_places/place/<layer>", ("instance", "axis"), "float32", "",
        "Where each instance lies in the plane; NaN for unusable ones.", math.nan,
    ),
    ArrayDeclaration(
        "artifacts/instance_places/class_place/<layer>", ("class", "axis"), "float32",
        "", "Where the classes that have instances lie in it.",
    ),
    ArrayDeclaration(
        "artifacts/columns/<column>/value", ("instance",), "any", "",
        "Values of a column that was added; its name is an attribute of the group.",
    ),
    ArrayDeclaration(
        "artifacts/columns/<column>/has_value", ("instance",), "bool", "",
        "Where there is a value; is_asked: where the function has been asked for one.",
    ),
    *ASKED_OF_NETWORK,
)  # fmt: skip


OUTCOME_COLUMNS = ("margin", "entropy", "loss", "rank")
"""Columns about the outputs, unless the data set has columns of these names."""


VALUE_COLUMNS = ("output", ERROR, "absolute_error")
"""The same where the output is a single value; the latter two if there is a target."""


RESERVED_COLUMNS = tuple(
    name
    for d in _DECLARATIONS
    if d.pattern.startswith("instances/")
    and "<" not in d.pattern
    and (name := d.pattern.removeprefix("instances/"))
    not in (*OUTCOME_COLUMNS, *VALUE_COLUMNS)
)
"""Names that a metadata column cannot have."""


def declaration_of(pattern: str) -> ArrayDeclaration:
    """Return the declaration of a name pattern, as written in the registry."""
    return next(d for d in _DECLARATIONS if d.pattern == pattern)


def markdown_table() -> str:
    """Return the table of all arrays, in Markdown."""
    lines = ["| array | axes | dtype | unit | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{d.pattern}` | {', '.join(d.dimensions)} | {d.dtype} | {d.unit} "
        f"| {d.meaning} |"
        for d in _DECLARATIONS
    ]
    return "\n".join(lines)
