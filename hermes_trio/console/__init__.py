"""The debug console: what is alive now and what each waits for, for a browser and for a terminal."""
