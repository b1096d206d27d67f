"""What outlives a call in its slot: the stateful shell, terminals, background jobs."""
