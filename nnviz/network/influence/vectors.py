"""The few vector instructions of the influence kernels, written as LLVM's own code.

Numba compiles loops; that a loop becomes vector instructions, and that its running
maxima stay in registers, is left to chance. The functions here say it, and reach the
rate of a compiled library without a compiler: LLVM, which comes with numba, translates
them to what the processor has. They are called from compiled functions only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numpy.typing import NDArray

from nnviz.compiling import compiled

__all__ = [
    "LANES",
    "LOWEST",
    "POSITIONS_AT_ONCE",
    "address",
    "advance",
    "first_maximum",
    "largest_sums",
    "largest_sums_of_two",
    "span_maximum",
    "span_minimum",
    "tile_maximum_narrow",
    "tile_maximum_single",
    "tile_maximum_wide",
]

Llvm = Any
"""A type, value, context or builder of llvmlite and numba, which have no stubs."""


def _lanes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") else 4


LANES: int = _lanes()
"""Float32 values in one vector register of this processor."""

POSITIONS_AT_ONCE: int = 8 if LANES == 16 else 4
"""Positions whose sums over taps, for two targets, fit in the registers."""

LOWEST: Any = np.float32(-np.inf)
"""Less than every value, in the type that keeps numba from computing in float64."""

_FLOAT = ir.FloatType()
_INDEX = ir.IntType(64)
_INT = ir.IntType(32)
_BITS = ir.IntType(LANES)
_VECTOR = ir.VectorType(_FLOAT, LANES)
# Inputs are finite: the callers refuse NaN and infinity.
_FINITE = ("nnan", "nsz")


def _instruction(function: Callable[..., Llvm]) -> Callable[..., Any]:
    return intrinsic(function)  # type: ignore[no-any-return]


def _call(builder: Llvm, name: str, values: Sequence[Llvm], *flags: str) -> Llvm:
    result = _FLOAT if name.startswith("llvm.vector") else _VECTOR
    kind = ir.FunctionType(result, [value.type for value in values])
    name = f"{name}.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, values, fastmath=flags)


def _load(builder: Llvm, pointer: Llvm, index: Llvm) -> Llvm:
    address = builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())
    vector = builder.load(address)
    vector.align = 4
    return vector


def _spread(builder: Llvm, scalar: Llvm) -> Llvm:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, scalar, _INT(0))
    zeros = ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
    return builder.shuffle_vector(first, empty, zeros)


@_instruction
def address(_: Llvm, array: Llvm) -> Llvm:
    """Pointer to the first element of a contiguous array, which must stay alive.

    Called functions that get arrays count references, at a cost of up to ten times
    their work here (measured); pointers are not counted. They are indexed from 0 on.
    """
    if array.layout != "C":
        raise TypingError("only a contiguous array can be read through a pointer")
    pointer: Llvm = types
    signature = pointer.CPointer(array.dtype)(array)

    def generate(context: Llvm, builder: Llvm, signature: Llvm, values: Llvm) -> Llvm:
        return context.make_array(signature.args[0])(context, builder, values[0]).data

    return signature, generate


@_instruction
def advance(_: Llvm, pointer: Llvm, n_elements: Llvm) -> Llvm:
    """Pointer to a later element."""
    signature = pointer(pointer, types.int64)

    def generate(context: Llvm, builder: Llvm, signature: Llvm, values: Llvm) -> Llvm:
        del context, signature
        return builder.gep(values[0], [values[1]])

    return signature, generate


def _tile_maximum(n_vectors: int) -> Callable[..., float]:
    """Make `tile_maximum_wide` for tiles of `n_vectors` vectors.

    The sums over taps stay in registers: for each tap one weight is spread over a
    vector, multiplied with `n_vectors` shifted reads, and added.
    """

    @_instruction
    def tile_maximum(
        _: Llvm, maps: Llvm, offsets: Llvm, weights: Llvm, n_taps: Llvm, mask: Llvm
    ) -> Llvm:
        signature = types.float32(maps, offsets, weights, types.int64, mask)

        def generate(
            context: Llvm, builder: Llvm, signature: Llvm, values: Llvm
        ) -> Llvm:
            del context, signature
            source, taps, weight, count, closed = values
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(n_vectors)]
            for number, total in enumerate(sums):
                builder.store(_load(builder, closed, _INDEX(number * LANES)), total)
            with cgutils.for_range(builder, count, intp=_INDEX) as loop:
                offset = builder.load(builder.gep(taps, [loop.index]))
                factor = builder.load(builder.gep(weight, [loop.index]))
                factor = _spread(builder, factor)
                for number, total in enumerate(sums):
                    index = builder.add(offset, _INDEX(number * LANES))
                    loaded = _load(builder, source, index)
                    operands = [loaded, factor, builder.load(total)]
                    builder.store(_call(builder, "llvm.fmuladd", operands), total)
            best = builder.load(sums[0])
            for total in sums[1:]:
                pair = [best, builder.load(total)]
                best = _call(builder, "llvm.maxnum", pair, *_FINITE)
            return _call(builder, "llvm.vector.reduce.fmax", [best], *_FINITE)

        return signature, generate

    return tile_maximum


tile_maximum_narrow = _tile_maximum(2)
"""Largest sum over taps in ``2 * LANES`` positions; see `tile_maximum_wide`."""

tile_maximum_single = _tile_maximum(5)
"""As `tile_maximum_wide`, for ``5 * LANES``: a whole map of 8 x 8 positions."""

tile_maximum_wide = _tile_maximum(4)
"""Largest sum over taps in ``4 * LANES`` neighbouring positions.

``tile_maximum_wide(maps, offsets, weights, n_taps, mask)`` is the maximum over lanes p
of ``mask[p] + sum over taps t of maps[offsets[t] + p] * weights[t]``. The mask is 0 for
positions that the network evaluates and minus infinity for all others.
"""


def _largest_sums(n_targets: int) -> Callable[..., Any]:
    """Make `largest_sums` for one or two targets, which share what is read."""

    def generate(context: Llvm, builder: Llvm, signature: Llvm, values: Llvm) -> Llvm:
        del signature
        source, places, n_blocks, taps, count, step = values[:6]
        weights, results = values[6 : 6 + n_targets], values[6 + n_targets :]
        zero, lowest = (
            ir.Constant(_VECTOR, [number] * LANES) for number in (0.0, -np.inf)
        )
        best = [cgutils.alloca_once_value(builder, lowest) for _ in results]
        sums = [
            [cgutils.alloca_once(builder, _VECTOR) for _ in range(POSITIONS_AT_ONCE)]
            for _ in results
        ]
        with cgutils.for_range(builder, n_blocks, intp=_INDEX) as block:
            first = builder.mul(block.index, _INDEX(POSITIONS_AT_ONCE))
            read = []
            for number in range(POSITIONS_AT_ONCE):
                place = builder.gep(places, [builder.add(first, _INDEX(number))])
                read.append(builder.gep(source, [builder.load(place)]))
            for total in itertools.chain(*sums):
                builder.store(zero, total)
            with cgutils.for_range(builder, count, intp=_INDEX) as tap:
                offset = builder.load(builder.gep(taps, [tap.index]))
                at = builder.mul(tap.index, step)
                factors = [_load(builder, weight, at) for weight in weights]
                for number, pointer in enumerate(read):
                    loaded = _load(builder, pointer, offset)
                    for factor, totals in zip(factors, sums, strict=True):
                        operands = [loaded, factor, builder.load(totals[number])]
                        total = _call(builder, "llvm.fmuladd", operands)
                        builder.store(total, totals[number])
            for largest, totals in zip(best, sums, strict=True):
                for total in totals:
                    pair = [builder.load(largest), builder.load(total)]
                    pair = [_call(builder, "llvm.maxnum", pair, *_FINITE)]
                    builder.store(pair[0], largest)
        for largest, result in zip(best, results, strict=True):
            place = builder.bitcast(result, _VECTOR.as_pointer())
            builder.store(builder.load(largest), place, align=4)
        return context.get_dummy_value()

    if n_targets == 1:

        @_instruction
        def largest(
            _: Llvm, maps: Llvm, places: Llvm, n_blocks: Llvm, offsets: Llvm,
            n_taps: Llvm, step: Llvm, weights: Llvm, sums: Llvm,
        ) -> Llvm:  # fmt: skip
            whole = types.int64
            signature = types.void(
                maps, places, whole, offsets, whole, whole, weights, sums
            )
            return signature, generate

        return largest

    @_instruction
    def largest_two(
        _: Llvm, maps: Llvm, places: Llvm, n_blocks: Llvm, offsets: Llvm,
        n_taps: Llvm, step: Llvm, weights: Llvm, others: Llvm, sums: Llvm,
        other_sums: Llvm,
    ) -> Llvm:  # fmt: skip
        whole = types.int64
        signature = types.void(
            maps, places, whole, offsets, whole, whole, weights, others, sums,
            other_sums,
        )  # fmt: skip
        return signature, generate

    return largest_two


largest_sums = _largest_sums(1)
"""Largest sums over taps of ``LANES`` neighbouring sources, over any positions.

``largest_sums(maps, places, n_blocks, offsets, n_taps, step, weights, sums)`` writes to
``sums[i]`` the maximum over p of the ``sum over taps t of
maps[places[p] + offsets[t] + i] * weights[t * step + i]``; there are `n_blocks` times
``POSITIONS_AT_ONCE`` places. Sums over taps are added in the order of
`tile_maximum_wide`, so that they are the same bit by bit.
"""

largest_sums_of_two = _largest_sums(2)
"""As `largest_sums`, for two targets: with two `weights`, and two `sums` at the end."""


def _span(name: str) -> Callable[..., float]:
    @_instruction
    def span(_: Llvm, values: Llvm, n_vectors: Llvm) -> Llvm:
        signature = types.float32(values, types.int64)

        def generate(
            context: Llvm, builder: Llvm, signature: Llvm, arguments: Llvm
        ) -> Llvm:
            del context, signature
            data, n_vectors = arguments
            first = _load(builder, data, _INDEX(0))
            best = [cgutils.alloca_once(builder, _VECTOR) for _ in range(4)]
            for part in best:
                builder.store(first, part)

            def extend(part: Llvm, number: Llvm) -> None:
                index = builder.mul(number, _INDEX(LANES))
                pair = [builder.load(part), _load(builder, data, index)]
                builder.store(_call(builder, f"llvm.{name}num", pair, *_FINITE), part)

            # Four at a time: each has to wait only for the one four before it.
            n_fours = builder.lshr(n_vectors, _INDEX(2))
            n_rest = builder.and_(n_vectors, _INDEX(3))
            with cgutils.for_range(builder, n_fours, intp=_INDEX) as loop:
                four = builder.shl(loop.index, _INDEX(2))
                for number, part in enumerate(best):
                    extend(part, builder.add(four, _INDEX(number)))
            done = builder.shl(n_fours, _INDEX(2))
            with cgutils.for_range(builder, n_rest, intp=_INDEX) as loop:
                extend(best[0], builder.add(done, loop.index))
            result = builder.load(best[0])
            for part in best[1:]:
                pair = [result, builder.load(part)]
                result = _call(builder, f"llvm.{name}num", pair, *_FINITE)
            reduce = f"llvm.vector.reduce.f{name}"
            return _call(builder, reduce, [result], *_FINITE)

        return signature, generate

    return span


span_maximum = _span("max")
"""``span_maximum(values, n_vectors)``: of ``n_vectors * LANES`` values."""

span_minimum = _span("min")
"""``span_minimum(values, n_vectors)``: of ``n_vectors * LANES`` values."""


@_instruction
def _first_equal(_: Llvm, values: Llvm, n_vectors: Llvm, wanted: Llvm) -> Llvm:
    """Index of the first element that equals `wanted`; -1 if none does."""
    signature = types.int64(values, types.int64, types.float32)

    def generate(
        context: Llvm, builder: Llvm, signature: Llvm, arguments: Llvm
    ) -> Llvm:
        del context, signature
        data = arguments[0]
        wanted = _spread(builder, arguments[2])
        found = cgutils.alloca_once_value(builder, _INDEX(-1))
        kind = ir.FunctionType(_BITS, [_BITS, ir.IntType(1)])
        name = f"llvm.cttz.i{LANES}"
        first_bit = cgutils.get_or_insert_function(builder.module, kind, name)
        with cgutils.for_range(builder, arguments[1], intp=_INDEX) as loop:
            index = builder.mul(loop.index, _INDEX(LANES))
            equal = builder.fcmp_ordered("==", _load(builder, data, index), wanted)
            equal = builder.bitcast(equal, _BITS)
            with builder.if_then(builder.icmp_unsigned("!=", equal, _BITS(0))):
                lane = builder.call(first_bit, [equal, ir.IntType(1)(1)])
                builder.store(builder.add(index, builder.zext(lane, _INDEX)), found)
                loop.do_break()
        return builder.load(found)

    return signature, generate


@compiled
def first_maximum(values: NDArray[Any], n_vectors: int) -> int:
    """Index of the largest of ``n_vectors * LANES`` values; the first of equal ones."""
    largest = span_maximum(values, n_vectors)
    index: int = _first_equal(values, n_vectors, largest)
    return index
