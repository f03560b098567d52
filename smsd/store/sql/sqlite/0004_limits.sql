-- Version 4: how often recipients, users, tenants, campaigns and senders were texted lately, and what waits for a turn.

-- One row for each rule's key a message was charged under (`kind` and `key` are core.admission.Key), numbered in the
-- order in which they were charged. It knows neither rate nor message but for its number: a changed rate keeps its
-- history, and what becomes of the message changes nothing. `boot_us` is comparable within one `boot` only.
CREATE TABLE charges (
    nr      INTEGER PRIMARY KEY,
    kind    INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    boot    INTEGER NOT NULL,
    boot_us INTEGER,
    seq     INTEGER NOT NULL
) STRICT;

CREATE INDEX charges_key ON charges (kind, key, nr);

-- Pending and due later: why, by which rule or hours, and since when a rule holds it up.
ALTER TABLE messages ADD COLUMN held       TEXT;
ALTER TABLE messages ADD COLUMN held_by    TEXT;
ALTER TABLE messages ADD COLUMN held_since INTEGER;

CREATE INDEX messages_held ON messages (seq) WHERE state = 0 AND held IS NOT NULL;

-- The round (counted from 1) in which it was last claimed: it is not asked about limits in that one again.
ALTER TABLE messages ADD COLUMN admitted   INTEGER NOT NULL DEFAULT 0;
