"""All benchmarks, one after another: `python -m benchmarks`."""

from benchmarks import boundary_metrics, leverage

if __name__ == "__main__":
    boundary_metrics.main()
    print()
    leverage.main()
