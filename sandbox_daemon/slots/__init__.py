"""The slots: who holds which (``table.py``, pure), their folders, their life, and the pool around them."""
