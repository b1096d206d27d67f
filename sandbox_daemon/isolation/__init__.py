"""What keeps a slot in: levels, the probe that finds them out by doing, and the launch of an agent."""

from sandbox_daemon.isolation.levels import Isolation, Level, Missing, Policy
from sandbox_daemon.isolation.probe import probe

__all__ = ["Isolation", "Level", "Missing", "Policy", "probe"]
