"""Run the demo, the benchmarks, the fault tests and the experiments of this repository."""
