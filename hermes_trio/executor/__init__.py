"""Where a tool call walks in: plan it, run it in its trajectory's slot, say how it ended."""
