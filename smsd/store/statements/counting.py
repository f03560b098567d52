"""With which SQL are counts kept, so that nobody counts messages?

They change in the transaction of what they count (`smsd.store.deltas`) and are read as they are (`smsd.store.reading`).
"""

from __future__ import annotations

ADD_COUNTERS = (
    "INSERT INTO counters (state, priority, n) VALUES {rows} "
    "ON CONFLICT (state, priority) DO UPDATE SET n = n + excluded.n"
)

ADD_CATEGORIES = (
    "INSERT INTO categories (category, n) VALUES {rows} ON CONFLICT (category) DO UPDATE SET n = n + excluded.n"
)

ADD_MINUTES = (
    "INSERT INTO minutes (minute, provider, sent, failed, throttled) VALUES {rows} ON CONFLICT (minute, provider) "
    "DO UPDATE SET sent = sent + excluded.sent, failed = failed + excluded.failed, "
    "throttled = throttled + excluded.throttled"
)

ADD_TENANT_COUNTERS = (
    "INSERT INTO tenant_counters (tenant, state, priority, n) VALUES {rows} "
    "ON CONFLICT (tenant, state, priority) DO UPDATE SET n = n + excluded.n"
)

ADD_TENANT_CATEGORIES = (
    "INSERT INTO tenant_categories (tenant, category, n) VALUES {rows} "
    "ON CONFLICT (tenant, category) DO UPDATE SET n = n + excluded.n"
)

ADD_TENANT_MINUTES = (
    "INSERT INTO tenant_minutes (tenant, minute, sent, failed) VALUES {rows} "
    "ON CONFLICT (tenant, minute) DO UPDATE SET sent = sent + excluded.sent, failed = failed + excluded.failed"
)

ADD_CAMPAIGNS = (
    "INSERT INTO campaigns (tenant, id, name, created_at, changed_at) VALUES {rows} "
    "ON CONFLICT (tenant, id) DO UPDATE SET changed_at = max(campaigns.changed_at, excluded.changed_at)"
)

ADD_CAMPAIGN_COUNTERS = (
    "INSERT INTO campaign_counters (tenant, campaign, state, n) VALUES {rows} "
    "ON CONFLICT (tenant, campaign, state) DO UPDATE SET n = n + excluded.n"
)

FORGET_TENANT_MINUTES = (
    "DELETE FROM tenant_minutes WHERE (tenant, minute) IN "
    "(SELECT tenant, minute FROM tenant_minutes WHERE minute < ? ORDER BY minute LIMIT ?)"
)

COUNTERS = "SELECT state, priority, n FROM counters"

CATEGORIES = "SELECT category, n FROM categories"

MINUTES = "SELECT minute, provider, sent, failed, throttled FROM minutes WHERE minute >= ? ORDER BY minute, provider"

OLDEST_PENDING = "SELECT next_due FROM flows WHERE pending > 0 ORDER BY next_due LIMIT 1"

TENANT_COUNTERS = "SELECT state, priority, n FROM tenant_counters WHERE tenant = ?"

TENANT_CATEGORIES = "SELECT category, n FROM tenant_categories WHERE tenant = ?"

TENANT_MINUTES = (
    "SELECT minute, '', sent, failed, 0 FROM tenant_minutes WHERE tenant = ? AND minute >= ? ORDER BY minute"
)

OLDEST_PENDING_OF_TENANT = "SELECT next_due FROM flows WHERE pending > 0 AND tenant = ? ORDER BY next_due LIMIT 1"
