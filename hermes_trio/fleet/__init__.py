"""This side of the daemons: one supervised connection for each."""
