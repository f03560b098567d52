"""What does the whole engine do when everything goes wrong, in seconds instead of weeks?

The real engine and the real store (a real SQLite file, synchronously) on virtual time, against a simulated carrier that
knows the truth, with seeded faults of carrier, store, clock and process. After every run the invariants of
`invariants.py` are checked; `test_bugs.py` shows each of them red by one deliberate bug.

`loop` virtual time · `clock` its two readings · `carrier` the providers' truth · `faults` the store's · `history` what
happened · `config` and `script` what a seed means · `world` one run · `stories` worlds drawn by hand · `invariants`
what must be true of a run · `judge` and `python -m tests.simulation` ask many seeds.
"""
