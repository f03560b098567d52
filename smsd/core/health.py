"""Is this provider fit to be called, and who said otherwise?

HELPER: see contract.
"""
