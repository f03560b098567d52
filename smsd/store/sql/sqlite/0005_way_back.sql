-- What comes back: receipts, inbound texts, and callbacks to applications.

-- Where what happens to a message is told (NULL: where its tenant says), and whether suppressions let it pass because
-- it answers a STOP, START or HELP.
ALTER TABLE messages ADD COLUMN callback_url TEXT;
ALTER TABLE messages ADD COLUMN exempt       INTEGER NOT NULL DEFAULT 0;

-- The states that a receipt brought it away from in its present round, a bit each (1 << state): none is told twice.
ALTER TABLE messages ADD COLUMN been         INTEGER NOT NULL DEFAULT 0;

-- The greatest word of an attempt's receipts (core.receipt.Status).
ALTER TABLE attempts ADD COLUMN receipt      INTEGER;
ALTER TABLE attempts ADD COLUMN receipt_code TEXT;
ALTER TABLE attempts ADD COLUMN receipt_at   INTEGER;

-- Whose a provider's id is, where its receipts name nothing else. Only of such providers: a random page per send is
-- dear. A row goes with its message.
CREATE TABLE provider_ids (
    provider            TEXT    NOT NULL,
    provider_message_id TEXT    NOT NULL,
    seq                 INTEGER NOT NULL,
    n                   INTEGER NOT NULL,
    PRIMARY KEY (provider, provider_message_id)
) STRICT, WITHOUT ROWID;

-- Receipts about nothing that is known yet; of each id the greatest word. Applied when the id becomes known, taken away
-- after a day. `reading`: core.receipt.ReceiptReading as JSON.
CREATE TABLE receipts (
    nr                  INTEGER PRIMARY KEY,
    provider            TEXT    NOT NULL,
    provider_message_id TEXT    NOT NULL,
    status              INTEGER NOT NULL,
    code                TEXT,
    words               TEXT    NOT NULL,
    at                  INTEGER,
    price               TEXT,
    reading             TEXT,
    received_at         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX receipts_id ON receipts (provider, provider_message_id);

-- Who texted whom last, for the tenant of an answer. Only at providers whose texts smsd receives. `recipient` and
-- `sender` as in the message that was sent.
CREATE TABLE threads (
    recipient TEXT    NOT NULL,
    sender    TEXT    NOT NULL,
    provider  TEXT    NOT NULL,
    tenant    TEXT    NOT NULL,
    message   TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (recipient, sender)
) STRICT, WITHOUT ROWID;

-- Texts received. `sender` wrote it, `recipient` is our number; `word`: stop, start, help; `news`: whether the word
-- changed something, so that it is to be answered; `message`: the one it seems to answer.
CREATE TABLE inbound (
    nr                  INTEGER PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,
    provider            TEXT    NOT NULL,
    provider_message_id TEXT    NOT NULL,
    sender              TEXT    NOT NULL,
    recipient           TEXT    NOT NULL,
    text                TEXT    NOT NULL,
    tenant              TEXT    NOT NULL,
    message             TEXT,
    word                TEXT,
    news                INTEGER NOT NULL,
    sent_at             INTEGER,
    received_at         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX inbound_known  ON inbound (provider, provider_message_id);
CREATE INDEX inbound_tenant ON inbound (tenant, nr);
CREATE INDEX inbound_sender ON inbound (sender, nr);

-- What applications are yet to be told, and what could not be told to them (`due` NULL). What was told is deleted.
-- `place`: the tenant, and scheme, host and port of the URL (core.callback.place_of).
CREATE TABLE callbacks (
    nr          INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    event       TEXT    NOT NULL,
    tenant      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    place       TEXT    NOT NULL,
    payload     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    due         INTEGER,
    tries       INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    http_status INTEGER,
    tried_at    INTEGER
) STRICT;

CREATE INDEX callbacks_due    ON callbacks (place, due, nr) WHERE due IS NOT NULL;
CREATE INDEX callbacks_failed ON callbacks (tried_at)        WHERE due IS NULL;
CREATE INDEX callbacks_given_up ON callbacks (id, tenant)  WHERE due IS NULL;

-- When the first callback of each place is due that has any waiting.
CREATE TABLE callback_places (
    place TEXT    NOT NULL PRIMARY KEY,
    due   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX callback_places_due ON callback_places (due, place);

-- URLs that said 410 (gone): nothing is sent there until an operator says so. `nr` rises with time.
CREATE TABLE gone_urls (
    nr     INTEGER PRIMARY KEY,
    tenant TEXT    NOT NULL,
    url    TEXT    NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX gone_urls_known ON gone_urls (tenant, url);
