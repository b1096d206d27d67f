"""The daemon: slots, what runs in them, and the door to them.

Rooms: ``isolation`` (what keeps a slot in), ``agent`` (the program inside a slot), ``process`` (one command),
``slots`` (leases and life of the slots), ``server`` (the protocol). See ``docs/design/sandbox.md``.
"""
