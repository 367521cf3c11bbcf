"""All benchmarks, one after another: `python -m benchmarks`."""

from benchmarks import boundary_metrics, compact_latency, compensation, fisher, group_scores, leverage

if __name__ == "__main__":
    boundary_metrics.main()
    print()
    leverage.main()
    print()
    group_scores.main()
    print()
    fisher.main()
    print()
    compact_latency.main()
    print()
    compensation.main()
