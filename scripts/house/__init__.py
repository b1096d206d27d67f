"""The rules of the house as data, and what reads the source tree to check them.

Shared by ``tests/house`` and ``scripts/coverage_gate.py``; it imports nothing of the product.
"""
