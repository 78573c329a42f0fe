"""What is said where pyarrow or numpy is missing, and what is not imported for others."""

import subprocess
import sys

import pytest

from aurora_sql.bulk._arrow import make_source
from aurora_sql.errors import ConfigurationError


class Frame:
    def __arrow_c_stream__(self, requested_schema=None):
        raise AssertionError("asked for its columns")


@pytest.mark.parametrize("missing", ["numpy", "pyarrow"])
def test_the_error_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError) as caught:
        make_source(Frame(), "bulk_insert('t')")
    assert missing in caught.value.message
    assert "pip install 'aurora-sql[arrow]'" in caught.value.message


def test_nothing_is_imported_for_other_rows():
    text = (
        "import sys, aurora_sql.bulk._arrow as a\n"
        "a.make_source([(1,)], 'x'); a.make_source(iter([(1,)]), 'x')\n"
        "assert not {'numpy', 'pyarrow', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
