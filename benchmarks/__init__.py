"""The benchmark harness: arms to compare, scenarios to compare them in, and the library under both.

Not part of the wheel; ``hermes-trio bench`` finds it when it is run from a checkout.
"""
