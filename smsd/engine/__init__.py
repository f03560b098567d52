"""The loop: the imperative shell around core. Knows no SQL, no provider by name, no door."""
