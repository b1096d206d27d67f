"""Which trajectory gets which slot."""
