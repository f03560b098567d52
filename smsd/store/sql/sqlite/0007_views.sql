-- Views for a person with sqlite3 and a copy of the outbox (smsd backup). Nothing of smsd reads them, and they cost nothing
-- until they are asked. Times are text in UTC that SQLite's date functions understand; "today" is the day in UTC.

-- Every message. `status`: SENT (sent, delivered), PENDING (pending, processing), ERROR (the rest); `state` is smsd's own
-- word. `error_message` begins with the category; one that is PENDING or SENT may have one, of an earlier try.
-- `processing_time_ms`: from its acceptance (or the time it was asked for) to its end. `retry_count`: calls but the first.
CREATE VIEW v_history AS
SELECT
    seq,
    id,
    strftime('%Y-%m-%d %H:%M:%f', created_at / 1000.0, 'unixepoch')   AS created_at,
    strftime('%Y-%m-%d %H:%M:%f', sent_at / 1000.0, 'unixepoch')      AS sent_at,
    strftime('%Y-%m-%d %H:%M:%f', processed_at / 1000.0, 'unixepoch') AS processed_at,
    CASE WHEN state IN (0, 1) THEN 'PENDING' WHEN state IN (2, 3) THEN 'SENT' ELSE 'ERROR' END AS status,
    CASE state
        WHEN 0 THEN 'pending' WHEN 1 THEN 'processing' WHEN 2 THEN 'sent' WHEN 3 THEN 'delivered'
        WHEN 4 THEN 'undelivered' WHEN 5 THEN 'failed' WHEN 6 THEN 'cancelled' ELSE 'expired'
    END AS state,
    recipient,
    text,
    tenant,
    "user",
    "type",
    campaign,
    provider,
    provider_message_id,
    segments,
    price,
    attempt AS attempts,
    max(attempt - 1, 0) AS retry_count,
    max(processed_at - max(created_at, coalesce(send_at, 0)), 0) AS processing_time_ms,
    error_category,
    error_code,
    error_cause,
    CASE
        WHEN error_category IS NOT NULL THEN error_category || ': ' || coalesce(error_message, '')
        WHEN state = 6 THEN 'cancelled'
    END AS error_message
FROM messages;

-- What was accepted today and failed, newest first; not what its owner cancelled.
CREATE VIEW v_errors_today AS
SELECT * FROM v_history
WHERE status = 'ERROR' AND state <> 'cancelled' AND created_at >= strftime('%Y-%m-%d', 'now')
ORDER BY seq DESC;

-- Messages that went in each minute, newest first.
CREATE VIEW v_send_rate AS
SELECT substr(sent_at, 1, 16) || ':00' AS minute, count(*) AS messages_sent
FROM v_history
WHERE status = 'SENT' AND sent_at IS NOT NULL
GROUP BY 1
ORDER BY 1 DESC;

-- Why messages of today failed, or wait to be tried again. One whose attempts were used up counts by its last real error.
CREATE VIEW v_error_types AS
SELECT
    CASE iif(error_category = 'EXHAUSTED', coalesce(error_cause, error_category), error_category)
        WHEN 'AUTH_FAILED' THEN 'Auth Error'
        WHEN 'RATE_LIMITED' THEN 'Rate Limit (Auto-Retry)'
        WHEN 'CONFIG_ERROR' THEN 'Config Error'
        ELSE 'Other'
    END AS error_type,
    count(*) AS count
FROM v_history
WHERE created_at >= strftime('%Y-%m-%d', 'now')
    AND state <> 'cancelled'
    AND (status = 'ERROR' OR (status = 'PENDING' AND error_category IS NOT NULL))
GROUP BY 1;

-- How many messages were called again, and how many of those went; success_rate in percent.
CREATE VIEW v_retry_success AS
SELECT
    count(*) AS total_retries,
    coalesce(sum(status = 'SENT'), 0) AS successful_retries,
    sum(status = 'SENT') * 100.0 / count(*) AS success_rate
FROM v_history
WHERE retry_count > 0;

-- The same by how often; avg_processing_time in ms.
CREATE VIEW v_retry_patterns AS
SELECT retry_count, count(*) AS count, avg(processing_time_ms) AS avg_processing_time
FROM v_history
WHERE retry_count > 0
GROUP BY retry_count
ORDER BY retry_count;
