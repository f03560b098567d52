-- What is left of a redacted number, so that its price stays what it was: the longest beginning that any provider's prices
-- named when it was redacted.
ALTER TABLE messages ADD COLUMN head TEXT;

-- How many of a campaign's messages were taken away: when that is as many as were counted, none is left.
ALTER TABLE campaigns ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
