import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._histogram import Latencies

nanoseconds = st.integers(min_value=1_000, max_value=60_000_000_000)


@given(st.lists(nanoseconds, min_size=1, max_size=200))
def test_percentiles_are_ordered_and_right_to_three_digits(values):
    percentiles = Latencies(values).percentiles()
    found = [percentiles.p50, percentiles.p95, percentiles.p99, percentiles.p999, percentiles.max]
    assert found == sorted(found)
    assert percentiles.max == pytest.approx(max(values) / 1e6, rel=2e-3, abs=2e-4)


@given(st.lists(nanoseconds, min_size=1, max_size=100), st.lists(nanoseconds, max_size=100))
def test_merging_is_recording_together(first, second):
    merged = Latencies(first)
    merged.merge(Latencies(second))
    together = Latencies(first + second)
    assert merged.count == together.count == len(first) + len(second)
    assert merged.percentiles() == together.percentiles()


@given(st.lists(nanoseconds, max_size=100))
def test_a_histogram_survives_its_text(values):
    latencies = Latencies(values)
    again = Latencies.decode(latencies.encode())
    assert again.count == len(values)
    assert again.percentiles() == latencies.percentiles()


def test_a_known_distribution():
    # 1 ms to 100 ms, each once.
    latencies = Latencies(range(1_000_000, 101_000_000, 1_000_000))
    assert latencies.percentile(50) == pytest.approx(50, rel=2e-3)
    assert latencies.percentile(95) == pytest.approx(95, rel=2e-3)


def test_an_empty_one_has_zeros():
    assert Latencies().percentiles().max == 0.0
    assert repr(Latencies()) == "<Latencies count=0>"


def test_what_is_out_of_range_is_put_at_the_end_and_not_lost():
    latencies = Latencies([0, 10**18])
    assert latencies.count == 2
    assert latencies.percentile(100) == pytest.approx(3_600_000, rel=2e-3)


@pytest.mark.parametrize("text", ["", "nonsense", "HISTFAAAAA==", "é"])
def test_a_broken_text_is_refused(text):
    with pytest.raises(ValueError, match="not an encoded HDR histogram"):
        Latencies.decode(text)
