"""Links in, calls through to the slots, results out."""
