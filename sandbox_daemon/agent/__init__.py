"""The agent: the program that runs as PID 1 of a slot, and what it says on its socket.

Everything in this room but ``bundle.py`` also runs *inside* the slot, on whatever Python the host offers
there (3.9 or newer), with ``-I -S``: standard library only, nothing of the daemon's, no secrets, small
imports.
"""
