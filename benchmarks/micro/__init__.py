"""Benchmarks of one part in one process: what a part costs, without a socket or a sandbox around it."""
