"""Measuring: the parts of `smsd bench`."""
