"""Agents: what to do next (:mod:`~hermes_trio.agents.step`, pure) and the loop that does it."""
