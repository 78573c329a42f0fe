"""The process of one subject; see :mod:`benchmarks.failover._process`."""

import sys

from benchmarks.failover._process import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
