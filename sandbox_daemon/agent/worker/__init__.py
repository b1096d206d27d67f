"""The worker: a program for what takes longer with files than the agent may be away. Runs in the slot.

It is started like any command, in the slot's own groups and under the slot's limits, and ended like any: by
the kill ladder. What it brings goes to standard output, how it went to standard error (``told.py``).
"""
