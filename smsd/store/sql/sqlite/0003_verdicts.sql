-- Version 3: whom nobody texts any more, what is learnt of a provider, and which message smsd ended over again and again.

-- Numbers that get nothing more; `scope` is a provider's name, or empty: all of them. The primary key asks for one
-- number in one scope; the index on the number, which SQLite ends with the scope, for all scopes of a number.
CREATE TABLE suppressions (
    scope  TEXT    NOT NULL,
    number TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    source TEXT    NOT NULL,
    code   TEXT,
    PRIMARY KEY (scope, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX suppressions_number ON suppressions (number);

-- The breaker, suspect refusals in a row, and the rate in use and learnt (units a minute).
ALTER TABLE providers ADD COLUMN broken_since  INTEGER;
ALTER TABLE providers ADD COLUMN broken_reason TEXT    NOT NULL DEFAULT '';
ALTER TABLE providers ADD COLUMN probe_at      INTEGER;
ALTER TABLE providers ADD COLUMN strikes       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE providers ADD COLUMN rate          REAL;
ALTER TABLE providers ADD COLUMN learnt        REAL;
ALTER TABLE providers ADD COLUMN learnt_at     INTEGER;
ALTER TABLE providers ADD COLUMN halted_since  INTEGER;
ALTER TABLE providers ADD COLUMN paused_since  INTEGER;

-- Starts that found the message's attempt open after smsd had not ended in order; an operator's retry begins anew.
ALTER TABLE messages ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
