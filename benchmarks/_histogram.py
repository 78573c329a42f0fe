"""Latencies in an HDR histogram: three significant digits from 0.1 µs to an hour."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hdrh.histogram import HdrHistogram
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

_NANOSECONDS_PER_TICK = 100
_TICKS_PER_MILLISECOND = 10_000
_HIGHEST_TICK = 3_600 * 1_000 * _TICKS_PER_MILLISECOND
_DIGITS = 3


class Percentiles(BaseModel):
    """Latencies in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50: float
    p95: float
    p99: float
    p999: float
    max: float


class Latencies:
    """A set of latencies of which only the distribution is kept.

    Recording happens after a measurement, not in it: the loops append raw nanoseconds to an
    array, which costs a few ten nanoseconds where the histogram costs microseconds.
    """

    __slots__ = ("_histogram",)

    def __init__(self, nanoseconds: Iterable[int] = ()) -> None:
        self._histogram = HdrHistogram(1, _HIGHEST_TICK, _DIGITS)
        self.record(nanoseconds)

    def __repr__(self) -> str:
        return f"<Latencies count={self.count}>"

    @property
    def count(self) -> int:
        """How many were recorded."""
        return int(self._histogram.get_total_count())

    def record(self, nanoseconds: Iterable[int]) -> None:
        """Add latencies; what is below 0.1 µs or above an hour is put at that end."""
        # Equal ticks are recorded together: a round has far more values than distinct ones.
        for ticks, count in Counter(
            value // _NANOSECONDS_PER_TICK for value in nanoseconds
        ).items():
            self._histogram.record_value(min(max(ticks, 1), _HIGHEST_TICK), count)

    def merge(self, other: Latencies) -> None:
        """Add all latencies of ``other``."""
        self._histogram.add(other._histogram)

    def percentile(self, percent: float) -> float:
        """The latency in ms that ``percent`` of the calls did not exceed; 0.0 if empty."""
        if not self.count:
            return 0.0
        return float(self._histogram.get_value_at_percentile(percent)) / _TICKS_PER_MILLISECOND

    def percentiles(self) -> Percentiles:
        """The ones that reports show."""
        return Percentiles(
            p50=self.percentile(50),
            p95=self.percentile(95),
            p99=self.percentile(99),
            p999=self.percentile(99.9),
            max=self.percentile(100),
        )

    def encode(self) -> str:
        """The whole distribution as text (HdrHistogram's V2 format, base64)."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Latencies:
        """The distribution that :meth:`encode` wrote.

        Raises:
            ValueError: The text is no such histogram.
        """
        latencies = cls()
        try:
            latencies._histogram.decode_and_add(text.encode("ascii"))
        except Exception as error:  # the decoder lets zlib, base64 and ctypes errors through
            raise ValueError(f"not an encoded HDR histogram: {error}") from error
        return latencies
