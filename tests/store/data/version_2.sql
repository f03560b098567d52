-- A database of version 2, written by the smsd of that version (its `iterdump`).
PRAGMA application_id = 1936552804;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(1,1,1,'main',1790000000000,50,1,1790000001000,1,120,'accepted',201,NULL,NULL,'SM1',NULL);
INSERT INTO "attempts" VALUES(2,2,1,'main',1790000000000,50,1,1790000001000,1,120,'refuse',201,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES(3,3,1,'main',1790000000000,50,1,1790000001000,1,120,'accepted',201,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES(4,4,1,'main',1790000000000,50,1,1790000001000,1,120,'accepted',201,NULL,NULL,NULL,NULL);
CREATE TABLE categories (
    category TEXT    PRIMARY KEY,
    n        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "categories" VALUES('REJECTED',1);
CREATE TABLE counters (
    state    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (state, priority)
) STRICT, WITHOUT ROWID;
INSERT INTO "counters" VALUES(0,1,6);
INSERT INTO "counters" VALUES(1,1,2);
INSERT INTO "counters" VALUES(2,1,1);
INSERT INTO "counters" VALUES(5,1,1);
CREATE TABLE flows (
    id       INTEGER PRIMARY KEY,
    route    TEXT    NOT NULL,
    priority INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    campaign TEXT,
    pending  INTEGER NOT NULL DEFAULT 0,
    next_due INTEGER
) STRICT;
INSERT INTO "flows" VALUES(1,'main',1,'b',NULL,2,1790000000000);
INSERT INTO "flows" VALUES(2,'main',1,'a',NULL,3,1790000000000);
INSERT INTO "flows" VALUES(3,'main,b',1,'a','c',1,1790000000000);
CREATE TABLE keys (
    tenant TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    hash   BLOB    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('a','k2',X'6868686868686868686868686868686868686868686868686868686868686868',2);
INSERT INTO "keys" VALUES('a','k4',X'6868686868686868686868686868686868686868686868686868686868686868',4);
INSERT INTO "keys" VALUES('a','k6',X'6868686868686868686868686868686868686868686868686868686868686868',6);
INSERT INTO "keys" VALUES('a','k8',X'6868686868686868686868686868686868686868686868686868686868686868',8);
INSERT INTO "keys" VALUES('b','k1',X'6868686868686868686868686868686868686868686868686868686868686868',1);
INSERT INTO "keys" VALUES('b','k3',X'6868686868686868686868686868686868686868686868686868686868686868',3);
INSERT INTO "keys" VALUES('b','k5',X'6868686868686868686868686868686868686868686868686868686868686868',5);
INSERT INTO "keys" VALUES('b','k7',X'6868686868686868686868686868686868686868686868686868686868686868',7);
INSERT INTO "keys" VALUES('b','k9',X'6868686868686868686868686868686868686868686868686868686868686868',9);
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
INSERT INTO "messages" VALUES(1,'01a2049a-0000-7000-8000-000000000001',2,'+14155550123','Your code is 123456','b','main',1,1,1790000000000,1790000001000,1790003600000,1,0,19,5,NULL,'s',NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k1',1,1,0,'main','SM1',1790000000000,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,1790000001000,1790000001000,NULL,'0.0075');
INSERT INTO "messages" VALUES(2,'01a2049a-0000-7000-8000-000000000002',5,'+14155550123','Your code is 123456','a','main',2,1,1790000000000,1790000001000,1790003600000,1,0,19,5,NULL,'s',NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k2',1,1,0,'main',NULL,1790000000000,0,NULL,0,'REJECTED','no connection',1790000001000,'E1','main',NULL,NULL,1790000001000,NULL,NULL);
INSERT INTO "messages" VALUES(3,'01a2049a-0000-7000-8000-000000000003',1,'+14155550123','Your code is 123456','b','main',1,1,1790000000000,1790000005000,1790003600000,1,0,19,5,NULL,'s',NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k3',1,1,0,'main',NULL,1790000000000,1,1790000001000,0,'TIMEOUT','no connection',1790000001000,'E1','main',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(4,'01a2049a-0000-7000-8000-000000000004',0,'+14155550123','Your code is 123456','a','main',2,1,1790000000000,1790000005000,1790003600000,1,0,19,5,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k4',1,1,0,'main',NULL,1790000000000,0,NULL,0,'NETWORK','no connection',1790000001000,'E1','main',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(5,'01a2049a-0000-7000-8000-000000000005',1,'+14155550123','Your code is 123456','b','main',1,1,1790000000000,1790000000000,1790003600000,1,0,19,5,NULL,'s',NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k5',1,0,0,'main',NULL,1790000000000,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(6,'01a2049a-0000-7000-8000-000000000006',0,'+14155550123','Your code is 123456','a','main',2,1,1790000000000,1790000000000,1790003600000,1,0,19,5,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k6',0,0,0,NULL,NULL,NULL,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(7,'01a2049a-0000-7000-8000-000000000007',0,'+14155550123','Your code is 123456','b','main',1,1,1790000000000,1790000000000,1790003600000,1,0,19,5,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k7',0,0,0,NULL,NULL,NULL,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(8,'01a2049a-0000-7000-8000-000000000008',0,'+14155550123','Your code is 123456','a','main',2,1,1790000000000,1790000000000,1790003600000,1,0,19,5,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k8',0,0,0,NULL,NULL,NULL,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(9,'01a2049a-0000-7000-8000-000000000009',0,'+14155550123','Your code is 123456','b','main',1,1,1790000000000,1790000000000,1790003600000,1,0,19,5,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'k9',0,0,0,NULL,NULL,NULL,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(10,'01a2049a-0000-7000-8000-000000000020',0,'+14155550123','Your code is 123456','a','main,b',3,1,1790000000000,1790000000000,1790003600000,1,0,19,5,'ACME','ACME',NULL,0,0,'ann',NULL,'c',NULL,NULL,NULL,0,0,0,NULL,NULL,NULL,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('boot',1);
INSERT INTO "meta" VALUES('boot_token','boot');
INSERT INTO "meta" VALUES('cursor_key',X'238BC962D6A59AC37C8074F08DC90166');
CREATE TABLE minutes (
    minute    INTEGER NOT NULL,
    provider  TEXT    NOT NULL,
    sent      INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    throttled INTEGER NOT NULL,
    PRIMARY KEY (minute, provider)
) STRICT, WITHOUT ROWID;
INSERT INTO "minutes" VALUES(29833333,'main',1,1,0);
CREATE TABLE providers (
    name           TEXT PRIMARY KEY,
    fingerprint    TEXT NOT NULL,
    cooling_since  INTEGER,
    cooling_until  INTEGER,
    cooling_reason TEXT NOT NULL,
    halted         TEXT,
    paused         TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO "providers" VALUES('b','beef',NULL,NULL,'','401',NULL);
INSERT INTO "providers" VALUES('main','f00d',1790000000000,1790000005000,'429',NULL,'by an operator');
CREATE TABLE tenant_categories (
    tenant   TEXT    NOT NULL,
    category TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (tenant, category)
) STRICT, WITHOUT ROWID;
INSERT INTO "tenant_categories" VALUES('a','REJECTED',1);
CREATE TABLE tenant_counters (
    tenant   TEXT    NOT NULL,
    state    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (tenant, state, priority)
) STRICT, WITHOUT ROWID;
INSERT INTO "tenant_counters" VALUES('a',0,1,4);
INSERT INTO "tenant_counters" VALUES('a',1,1,0);
INSERT INTO "tenant_counters" VALUES('a',5,1,1);
INSERT INTO "tenant_counters" VALUES('b',0,1,2);
INSERT INTO "tenant_counters" VALUES('b',1,1,2);
INSERT INTO "tenant_counters" VALUES('b',2,1,1);
CREATE TABLE tenant_minutes (
    tenant TEXT    NOT NULL,
    minute INTEGER NOT NULL,
    sent   INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (tenant, minute)
) STRICT, WITHOUT ROWID;
INSERT INTO "tenant_minutes" VALUES('a',29833333,0,1);
INSERT INTO "tenant_minutes" VALUES('b',29833333,1,0);
CREATE INDEX messages_pending    ON messages (flow, due, seq)  WHERE state = 0;
CREATE INDEX messages_expiring   ON messages (expires_at)      WHERE state = 0;
CREATE INDEX messages_processing ON messages (uncertain, due)  WHERE state = 1;
CREATE INDEX messages_failed     ON messages (seq)             WHERE state = 5;
CREATE INDEX attempts_message ON attempts (seq, n);
CREATE INDEX attempts_found ON attempts (provider_message_id) WHERE outcome IN ('unknown', 'crashed');
CREATE UNIQUE INDEX flows_identity ON flows (route, priority, tenant, campaign);
CREATE INDEX flows_live ON flows (next_due) WHERE pending > 0;
CREATE INDEX tenant_minutes_age ON tenant_minutes (minute);
CREATE INDEX messages_user ON messages ("user", tenant) WHERE "user" IS NOT NULL;
COMMIT;
