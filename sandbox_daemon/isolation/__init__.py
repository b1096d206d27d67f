"""What keeps a slot in: levels, the launch of an agent, and the probe that finds out by doing.

``probe.py`` stands on the slots (it tries one), everything else here is below them.
"""
