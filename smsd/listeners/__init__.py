"""The doors: how other programs reach the daemon."""
