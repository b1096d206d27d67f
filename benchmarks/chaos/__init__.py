"""Real processes, tormented: links cut, daemons and executors killed or stopped, readers asleep."""
