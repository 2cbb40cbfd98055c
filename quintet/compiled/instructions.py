"""Loops told to the processor instruction by instruction, where Numba's own choice is far from the
best: what `quintet.compiled.panels` and `compiled.byte_products` have in common.

Such a loop is an intrinsic of Numba: it works on addresses, on vectors as wide as a register, and
keeps a table of sums in registers from its first number to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import codegen
from numba.extending import intrinsic

from quintet.config import UserError

CONFIG: Any = numba.config
if CONFIG.DISABLE_JIT:
    raise UserError(
        "NUMBA_DISABLE_JIT is set, and what hears, speaks, answers and learns has to be compiled; "
        "unset it."
    )
BYTE, FLOAT, INT = ir.IntType(8), ir.FloatType(), ir.IntType(32)


def has(feature: str) -> bool:
    """Whether what Numba compiles may use instructions of this name in LLVM: on this processor, or
    the one that Numba was told to compile for."""
    features = CONFIG.CPU_FEATURES
    if features is None:
        features = codegen.get_host_cpu_features() if CONFIG.CPU_NAME is None else ""
    return f"+{feature}" in features.split(",")


class Loop:
    """A loop in the making. Addresses and counts are whole numbers as wide as an address.

    Args:
        lanes: numbers of a vector.
    """

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes

    def pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, ir.PointerType(BYTE))

    def at(self, pointer: Any, offset: Any, kind: Any) -> Any:
        """The place so many bytes on, as a pointer to what is there."""
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), ir.PointerType(kind))

    def load(self, pointer: Any, offset: Any, kind: Any) -> Any:
        return self.builder.load(self.at(pointer, offset, kind), align=1)

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        self.builder.store(value, self.at(pointer, offset, value.type), align=1)

    def spread(self, value: Any) -> Any:
        """The same number in every lane."""
        nothing = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(INT, 0))
        places = ir.Constant(ir.VectorType(INT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, nothing, places)

    def sums(
        self, count: Any, starts: Sequence[Any], add: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """What `add` makes of the sums, `count` times: it is given how often it was done before,
        and the sums, which begin as `starts`."""
        builder, nothing = self.builder, ir.Constant(count.type, 0)
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("loop", "after"))
        builder.branch(loop)
        builder.position_at_end(loop)
        index = builder.phi(count.type)
        totals = [builder.phi(start.type) for start in starts]
        made = add(index, totals)
        following = builder.add(index, ir.Constant(count.type, 1))
        for phi, first, then in zip(
            [index, *totals], [nothing, *starts], [following, *made], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(then, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return made


def told(function: Callable[..., Any]) -> Any:
    """A function of addresses and counts for compiled functions to call. The one that is decorated
    says of which types, and how it is built."""
    return intrinsic(function)


@told
def float_of_bits(typing: Any, bits: Any) -> Any:
    """The float32 that an int32 is the bits of."""

    def make(context: Any, builder: Any, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.bitcast(args[0], FLOAT)

    return types.float32(types.int32), make
