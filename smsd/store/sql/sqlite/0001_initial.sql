-- The outbox, version 1. Times are integer milliseconds since the Unix epoch, UTC; states and priorities are the
-- numbers of smsd/core/message.py. For a person: look at a copy, made while smsd is stopped (sqlite3's .backup, or cp);
-- opening the live file with other tools while smsd runs can cost it its locks.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a message. Tenant, route, campaign and priority are repeated here beside the flow, so that a row explains
-- itself and a listing needs no join.
CREATE TABLE messages (
    seq                 INTEGER PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,
    state               INTEGER NOT NULL,
    recipient           TEXT    NOT NULL,
    text                TEXT    NOT NULL,
    tenant              TEXT    NOT NULL,
    route               TEXT    NOT NULL,
    flow                INTEGER NOT NULL,
    priority            INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    due                 INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    segments            INTEGER NOT NULL,
    encoding            INTEGER NOT NULL,
    length              INTEGER NOT NULL,
    max_attempts        INTEGER NOT NULL,
    asked_sender        TEXT,
    sender              TEXT,
    send_at             INTEGER,
    truncated           INTEGER NOT NULL,
    pinned              INTEGER NOT NULL,
    "user"              TEXT,
    "type"              TEXT,
    campaign            TEXT,
    profile             TEXT,
    metadata            TEXT,
    idempotency_key     TEXT,
    attempt             INTEGER NOT NULL DEFAULT 0,
    charged             INTEGER NOT NULL DEFAULT 0,
    round               INTEGER NOT NULL DEFAULT 0,
    provider            TEXT,
    provider_message_id TEXT,
    claimed_at          INTEGER,
    uncertain           INTEGER NOT NULL DEFAULT 0,
    uncertain_since     INTEGER,
    lookups             INTEGER NOT NULL DEFAULT 0,
    error_category      TEXT,
    error_message       TEXT,
    error_at            INTEGER,
    error_code          TEXT,
    error_provider      TEXT,
    error_cause         TEXT,
    sent_at             INTEGER,
    processed_at        INTEGER,
    delivered_at        INTEGER,
    price               TEXT
) STRICT;

-- Partial: only live rows stand in them, so they stay small and finished messages cost nothing. A query must repeat
-- the condition literally to use one. There is none on the recipient: it would write a random page per message.
CREATE INDEX messages_pending    ON messages (flow, due, seq)  WHERE state = 0;
CREATE INDEX messages_expiring   ON messages (expires_at)      WHERE state = 0;
CREATE INDEX messages_processing ON messages (uncertain, due)  WHERE state = 1;
CREATE INDEX messages_failed     ON messages (seq)             WHERE state = 5;

-- Idempotency keys, in a table of their own: a key outlives its message.
CREATE TABLE keys (
    tenant TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    hash   BLOB    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- One row a finished call, numbered in the order in which they were settled.
CREATE TABLE attempts (
    nr                  INTEGER PRIMARY KEY,
    seq                 INTEGER NOT NULL,
    n                   INTEGER NOT NULL,
    provider            TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    started_boot        INTEGER,
    boot                INTEGER NOT NULL,
    settled_at          INTEGER NOT NULL,
    cost                INTEGER NOT NULL,
    latency_ms          INTEGER,
    outcome             TEXT    NOT NULL,
    http_status         INTEGER,
    code                TEXT,
    category            TEXT,
    provider_message_id TEXT,
    trace               TEXT
) STRICT;

CREATE INDEX attempts_message ON attempts (seq, n);

-- Provider message ids that a look-up found. Those that an answer gave are not indexed: they are random, and a random
-- page per send would cost as much as the rest of the settlement.
CREATE INDEX attempts_found ON attempts (provider_message_id) WHERE outcome IN ('unknown', 'crashed');

-- Messages that share route, priority, tenant and campaign; pending and next_due are kept by the same transaction that
-- changes the messages.
CREATE TABLE flows (
    id       INTEGER PRIMARY KEY,
    route    TEXT    NOT NULL,
    priority INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    campaign TEXT,
    pending  INTEGER NOT NULL DEFAULT 0,
    next_due INTEGER
) STRICT;

CREATE UNIQUE INDEX flows_identity ON flows (route, priority, tenant, campaign);
CREATE INDEX flows_live ON flows (next_due) WHERE pending > 0;

-- Counts, kept and never counted.
CREATE TABLE counters (
    state    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (state, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE categories (
    category TEXT    PRIMARY KEY,
    n        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE minutes (
    minute    INTEGER NOT NULL,
    provider  TEXT    NOT NULL,
    sent      INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    throttled INTEGER NOT NULL,
    PRIMARY KEY (minute, provider)
) STRICT, WITHOUT ROWID;

CREATE TABLE providers (
    name           TEXT PRIMARY KEY,
    fingerprint    TEXT NOT NULL,
    cooling_since  INTEGER,
    cooling_until  INTEGER,
    cooling_reason TEXT NOT NULL,
    halted         TEXT,
    paused         TEXT
) STRICT, WITHOUT ROWID;
