"""Workspaces beyond one life of one slot: layers, bases, forks, differences, archives."""
