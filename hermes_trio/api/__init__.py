"""The HTTP face of an executor: the ancestor's routes unchanged, and more. ``server.py`` is the way in."""
