"""Rollouts: tasks, trajectories in groups, their verdicts, and the records they leave."""
