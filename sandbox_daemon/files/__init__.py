"""Files of a slot for those outside: listings, downloads and uploads, each in a turn of its own.

The agent opens single files and passes them on, open; what takes longer, a worker does inside the slot.
"""
