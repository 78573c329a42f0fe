"""One process of the client; see :mod:`benchmarks.scaling._worker`."""

from benchmarks.scaling._worker import main

if __name__ == "__main__":
    raise SystemExit(main())
