-- What operators need: campaigns, keys of messages that are gone, redaction, the audit, alerts.

-- One row for each campaign that was made, or that a message named. Counts stand in campaign_counters. `rate_count` in
-- any `rate_span_ms`; `between_start` to `between_end`: minutes of the day in `zone` in which it is sent. `made` 0: so
-- far it was only named by messages, and nobody said on which terms it is sent.
CREATE TABLE campaigns (
    nr            INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    made          INTEGER NOT NULL DEFAULT 0,
    paused_at     INTEGER,
    cancelled_at  INTEGER,
    rate_count    INTEGER,
    rate_span_ms  INTEGER,
    between_start INTEGER,
    between_end   INTEGER,
    zone          TEXT
) STRICT;

CREATE UNIQUE INDEX campaigns_id ON campaigns (tenant, id);
CREATE INDEX campaigns_named ON campaigns (id);
CREATE INDEX campaigns_tenant ON campaigns (tenant, nr);
CREATE INDEX campaigns_changed ON campaigns (changed_at);

-- Those that something stands in the way of: few, and read whole at the start.
CREATE INDEX campaigns_gated ON campaigns (nr)
    WHERE paused_at IS NOT NULL OR cancelled_at IS NOT NULL OR rate_count IS NOT NULL OR between_start IS NOT NULL;

-- How many of a campaign's messages are in each state; kept by the transactions that change them, and not made less by
-- the removal of messages.
CREATE TABLE campaign_counters (
    tenant   TEXT    NOT NULL,
    campaign TEXT    NOT NULL,
    state    INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (tenant, campaign, state)
) STRICT, WITHOUT ROWID;

-- In one walk over the messages, and without sorting them, which would take memory for each.
CREATE TEMP TABLE counted (
    tenant     TEXT    NOT NULL,
    campaign   TEXT    NOT NULL,
    state      INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, campaign, state)
) STRICT, WITHOUT ROWID;

INSERT INTO counted (tenant, campaign, state, n, created_at, changed_at)
SELECT tenant, campaign, state, 1, created_at, coalesce(processed_at, created_at) FROM messages
WHERE campaign IS NOT NULL
ON CONFLICT (tenant, campaign, state) DO UPDATE SET
    n = n + 1,
    created_at = min(created_at, excluded.created_at),
    changed_at = max(changed_at, excluded.changed_at);

INSERT INTO campaigns (tenant, id, name, created_at, changed_at)
SELECT tenant, campaign, '', min(created_at), max(changed_at) FROM counted GROUP BY tenant, campaign;

INSERT INTO campaign_counters (tenant, campaign, state, n) SELECT tenant, campaign, state, n FROM counted;

DROP TABLE counted;

-- A key outlives its message: what it is answered with then, and when it is forgotten.
ALTER TABLE keys ADD COLUMN forget_at INTEGER;
ALTER TABLE keys ADD COLUMN id        TEXT;
ALTER TABLE keys ADD COLUMN state     INTEGER;
ALTER TABLE keys ADD COLUMN segments  INTEGER;
ALTER TABLE keys ADD COLUMN encoding  INTEGER;
CREATE INDEX keys_forgotten ON keys (forget_at) WHERE forget_at IS NOT NULL;

-- 1: its text is gone, and its recipient is a keyed hash.
ALTER TABLE messages ADD COLUMN redacted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbound  ADD COLUMN redacted INTEGER NOT NULL DEFAULT 0;

-- Beside messages_failed, for the listing of both.
CREATE INDEX messages_undelivered ON messages (seq) WHERE state = 4;

-- What operators did. Written before it is done (`outcome` NULL), and again when it is known what became of it.
CREATE TABLE audit (
    nr        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    who       TEXT    NOT NULL,
    tenant    TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    outcome   TEXT
) STRICT;

-- Alerts that are raised now, or whose end is not told yet: a restart raises none of them again. `told` 0: the webhook
-- has not taken it yet.
CREATE TABLE alerts (
    name      TEXT    PRIMARY KEY,
    raised_at INTEGER NOT NULL,
    category  TEXT    NOT NULL,
    text      TEXT    NOT NULL,
    told      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
