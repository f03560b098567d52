"""Decisions: pure functions and values. No await, no clock, no dice, no I/O: the time and the random draw come in.

Values are not changed once made. Most are frozen; those made for every message are not, because freezing costs each
field of each of them an `object.__setattr__` (measured: 5 % of the daemon's time).
"""
