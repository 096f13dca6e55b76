"""Eight floats at once inside numba kernels: arithmetic on `Lanes` compiles to the vector unit of any CPU.

numba vectorises loops only as LLVM sees fit, and a splat's footprint is too short a loop for it to see any.
Inside an `njit` function `load(array, i)` gives the eight float32 that start at flat index `i` of a contiguous
array, `+ - *` and `/` work between lanes and scalars, comparisons give a `Mask` for `where`, and `store` writes back.
Everything here is an LLVM vector, so machines with narrower registers run the same code in more instructions.
"""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numba.extending
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import models, overload, register_model

# How every kernel of this room is compiled. Division by zero gives infinity instead of a hidden branch that raises;
# of fast maths all but the promise that NaN and infinity never occur, because overflow must stay well-defined.
FAST = {"contract", "reassoc", "nsz", "arcp"}
kernel: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath=FAST)
inlined: Any = partial(kernel, inline="always")
# Any: what these decorators make of a function is beyond type checkers.
intrinsic: Any = numba.extending.intrinsic

WIDTH = 8
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
_FLAGS = tuple(sorted(FAST))


class LanesType(types.Type):
    """The numba type of eight float32 values."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class MaskType(types.Type):
    """The numba type of eight truth values."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


LANES, MASK = LanesType(), MaskType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, _VECTOR)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), WIDTH))


def _spread(context, builder, value, kind):
    """Give a vector for a value of any numeric type."""
    if kind == LANES:
        return value
    scalar = context.cast(builder, value, kind, types.float32)
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _binary(name: str):
    @intrinsic
    def operation(typing, a, b):
        def generate(context, builder, signature, arguments):
            left, right = (_spread(context, builder, v, k) for v, k in zip(arguments, signature.args, strict=True))
            return getattr(builder, name)(left, right, flags=_FLAGS)

        return LANES(a, b), generate

    return operation


def _comparison(sign: str):
    @intrinsic
    def operation(typing, a, b):
        def generate(context, builder, signature, arguments):
            left, right = (_spread(context, builder, v, k) for v, k in zip(arguments, signature.args, strict=True))
            return builder.fcmp_ordered(sign, left, right)

        return MASK(a, b), generate

    return operation


def _define(symbol, operation) -> None:
    @overload(symbol, inline="always")
    def typed(a, b):
        if a == LANES or b == LANES:
            return lambda a, b: operation(a, b)
        return None


for _symbol, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _define(_symbol, _binary(_name))
for _symbol, _sign in ((operator.gt, ">"), (operator.lt, "<"), (operator.ge, ">="), (operator.le, "<=")):
    _define(_symbol, _comparison(_sign))


def _address(context, builder, array, kind, index):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def load(typing, array, index):
    """Read eight consecutive float32 of a contiguous array from flat index `index` on."""

    def generate(context, builder, signature, arguments):
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_address(context, builder, arguments[0], signature.args[0], at), align=4)

    return LANES(array, index), generate


@intrinsic
def store(typing, array, index, value):
    """Write eight consecutive float32 of a contiguous array from flat index `index` on."""

    def generate(context, builder, signature, arguments):
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _address(context, builder, arguments[0], signature.args[0], at), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def spread(typing, value):
    """Repeat one number in every lane."""

    def generate(context, builder, signature, arguments):
        return _spread(context, builder, arguments[0], signature.args[0])

    return LANES(value), generate


@intrinsic
def ramp(typing):
    """Give 0, 1, ... 7."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_VECTOR, [float(i) for i in range(WIDTH)])

    return LANES(), generate


@intrinsic
def where(typing, mask, yes, no):
    """Choose lane by lane."""

    def generate(context, builder, signature, arguments):
        left, right = (_spread(context, builder, v, k) for v, k in zip(arguments[1:], signature.args[1:], strict=True))
        return builder.select(arguments[0], left, right)

    return LANES(mask, yes, no), generate


def _reduction(name: str, signature_of):
    @intrinsic
    def operation(typing, lanes):
        def generate(context, builder, signature, arguments):
            kind = signature_of(ir.FloatType(), _VECTOR)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.{name}.v{WIDTH}f32")
            start = [ir.Constant(ir.FloatType(), 0.0)] if len(kind.args) == 2 else []
            return builder.call(function, [*start, arguments[0]], fastmath=_FLAGS)

        return types.float32(lanes), generate

    return operation


total = _reduction("fadd", lambda one, many: ir.FunctionType(one, [one, many]))
largest = _reduction("fmax", lambda one, many: ir.FunctionType(one, [many]))


@intrinsic
def lowest_bit(typing, mask):
    """Give the position of the lowest set bit of an int64 that is not zero."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line at flat index `index` of a contiguous array before it is needed."""

    def generate(context, builder, signature, arguments):
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [at]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, *(number(flag) for flag in (0, 3, 1))])  # to read, into every cache, data
        return context.get_dummy_value()

    return types.void(array, index), generate
