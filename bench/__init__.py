"""Benchmarks: programs that write documents into bench/results."""
