"""One command: the agent's link, bounded output, the kill ladder, and how it ended."""
