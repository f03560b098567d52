-- Alerts that are over, and who was told of those that are raised.

-- 0: its row was written, and nobody was told yet. What stands in older files was told before it was written.
ALTER TABLE alerts ADD COLUMN announced INTEGER NOT NULL DEFAULT 1;

-- The newest 50 by their end.
CREATE TABLE alerts_over (
    name       TEXT    NOT NULL,
    raised_at  INTEGER NOT NULL,
    cleared_at INTEGER NOT NULL,
    category   TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    PRIMARY KEY (name, raised_at)
) STRICT, WITHOUT ROWID;
