"""A real language model that fits in a test: random weights, real sampling, real logprobs, over real HTTP.

What it says is noise, mostly not valid UTF-8: its text does not lead back to its tokens. That makes it the
right model for tests of token traces: whoever makes ids from text fails. Needs the extra ``train``.
"""
