"""Decisions: pure functions and values. No await, no clock, no dice, no I/O: the time and the random draw come in."""
