"""One failover of the library and of asyncpg.Pool, each in a process and on a cluster of its own."""

import pytest

from benchmarks.failover import CONTENDERS, FailoverOptions, FailoverResult
from benchmarks.failover._process import Failed, measure_apart


@pytest.mark.slow
async def test_the_writer_fails_over(suite_process, tmp_path):
    process = await suite_process(
        "failover", "--failovers", "1", "--subjects", "aurora_sql,asyncpg.pool",
        "--callers", "4", "--endpoint-lag", "0.5", "--output", "result.json",
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "first acknowledged write" in output.decode()
    result = FailoverResult.model_validate_json((tmp_path / "result.json").read_text("utf-8"))
    assert result.complete
    assert [one.name for one in result.outcomes] == ["aurora_sql", "asyncpg.Pool"]
    for one in result.outcomes:
        assert len(one.pauses) == 1
        assert one.pauses[0] is not None
        assert one.longest_gap > one.pauses[0] > 0
        assert one.acknowledged > 0
        assert one.reads > 0
        assert (one.lost, one.doubled, one.unaccounted) == (0, 0, 0)
        assert one.applied <= one.in_doubt
    # The other one may show errors of its own while its connections break.
    assert result.outcomes[0].errors == {}
    assert result.outcomes[0].in_doubt == 0
    assert result.outcomes[0].read_errors == {}


async def test_a_subject_whose_process_fails_is_told():
    (pool,) = (one for one in CONTENDERS if one.name == "asyncpg.Pool")
    with pytest.raises(Failed, match=r"failed with .*must be 0 seconds or more.* 0 failovers"):
        await measure_apart(pool, FailoverOptions(endpoint_lag=-1.0), lambda turn, pause: None)
