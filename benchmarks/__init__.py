"""Benchmarks of medlib against plain transcriptions of the definitions and against named peers."""
