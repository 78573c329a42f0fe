"""PostgreSQL's numeric from Arrow's decimal128, a column at a time.

A numeric is a sequence of digits to base 10,000; ``weight`` says how many of them, less one, stand
before the point (``numeric_send`` in the server's numeric.c). The server strips the zeros at both
ends of what it reads, so that all values of a column can be sent with the same number of digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BASE: Final = 10_000
_GROUP: Final = 4
"""Decimal digits in one of the server's."""

_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFF_FFFF)
_NEGATIVE: Final = 0x4000
_ONE_WORD: Final = 18
"""Decimal digits that fit into 64 bits, whatever they are."""


def decimal_digits(
    words: NDArray[Any], precision: int, scale: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Encode a column of decimals.

    Args:
        words: Two 64-bit words for each value, the lower one first, as two's complement.
        precision: Decimal digits of the type.
        scale: How many of them stand behind the point.

    Returns:
        The bytes of each value, and for each whether it has more digits than its type allows.
    """
    before = -(-max(precision - scale, 0) // _GROUP)
    behind = -(-scale // _GROUP)
    count = before + behind
    padding = behind * _GROUP - scale
    low, high = words[:, 0], words[:, 1]
    negative = high >> np.uint64(63) == 1
    carry = (low == 0).astype(np.uint64)
    high = np.where(negative, ~high + carry, high)
    low = np.where(negative, ~low + np.uint64(1), low)
    factor = np.uint64(10**padding)
    if precision + padding <= _ONE_WORD:
        digits, wrong = _short(low * factor, count)
        wrong |= (high != 0) | (low >= np.uint64(10**precision))
    else:
        digits, wrong = _long(_scaled(low, high, factor), count)
    made = np.empty((len(words), 4 + count), ">i2")
    made[:, 0] = count
    made[:, 1] = before - 1
    made[:, 2] = np.where(negative, _NEGATIVE, 0)
    made[:, 3] = scale
    made[:, 4:] = digits
    return made.view(f"V{made.shape[1] * 2}").reshape(-1), wrong


def _short(rest: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    digits = np.empty((len(rest), count), np.int16)
    base = np.uint64(_BASE)
    for place in reversed(range(count)):
        quotient = rest // base
        digits[:, place] = rest - quotient * base
        rest = quotient
    return digits, rest != 0


def _scaled(low: NDArray[Any], high: NDArray[Any], factor: np.uint64) -> list[NDArray[Any]]:
    """Multiply; the product as words of 32 bits, the lowest first."""
    product: list[NDArray[Any]] = []
    carry: Any = np.uint64(0)
    for word in (low & _LOW, low >> _HALF, high & _LOW, high >> _HALF):
        total = word * factor + carry
        product.append(total & _LOW)
        carry = total >> _HALF
    return [*product, carry]


def _long(words: list[NDArray[Any]], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Divide by the base, again and again, as by hand."""
    digits = np.empty((len(words[0]), count), np.int16)
    base = np.uint64(_BASE)
    for place in reversed(range(count)):
        rest: Any = np.uint64(0)
        for index in reversed(range(len(words))):
            total = (rest << _HALF) | words[index]
            words[index] = total // base
            rest = total - words[index] * base
        digits[:, place] = rest
    wrong = np.zeros(len(digits), bool)
    for word in words:
        wrong |= word != 0
    return digits, wrong
