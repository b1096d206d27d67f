"""The protocol between executor and daemon, pure: bytes in, events out; no async, no clock, no randomness.

Read ``frames.py`` (what can be said), ``transitions.py`` (what may follow what), ``session.py`` (the whole),
then ``docs/reference/wire-protocol.md``, which is normative. Import from the modules themselves: this package
has no names of its own, so that what needs the frames alone does not load the codec.
"""
