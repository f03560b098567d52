"""With which SQL does an attempt end?

The message's row as it is afterwards, and the row of the attempt, which may be there already because a receipt was
quicker than the answer ("overtaken"). Set-wise, by `smsd.store.transitions`.
"""

from __future__ import annotations

from smsd.store.rows import ATTEMPT_COLUMNS, SETTLED_COLUMNS
from smsd.store.statements import grouped, listed

SETTLEABLE = (
    "WITH v (seq, attempt) AS (VALUES {rows}) "
    + grouped(
        "m.seq, m.tenant, m.priority, m.flow, m.provider, m.campaign", "v CROSS JOIN messages AS m ON m.seq = v.seq "
    )
    + "WHERE m.state = 1 AND m.attempt = v.attempt"
)

SETTLE = (
    "UPDATE messages SET attempt = v.attempt, state = v.state, due = v.due, charged = v.charged, "
    "uncertain = v.uncertain, "
    "uncertain_since = iif(v.uncertain, coalesce(messages.uncertain_since, v.doubt_at), NULL), lookups = v.lookups, "
    "processed_at = v.processed_at, sent_at = v.sent_at, "
    "sender = iif(v.state = 0, messages.asked_sender, messages.sender), "
    + ", ".join(
        f"error_{name} = iif(v.clear, NULL, iif(v.category IS NULL, messages.error_{name}, v.{name}))"
        for name in ("category", "message", "at", "code", "provider", "cause")
    )
    + ", provider_message_id = coalesce(v.pmid, messages.provider_message_id), "
    "price = coalesce(v.price, messages.price) "
    f"FROM {listed(SETTLED_COLUMNS)} WHERE messages.seq = v.seq AND +messages.state = 1"
)

INSERT_ATTEMPTS = f"INSERT INTO attempts ({ATTEMPT_COLUMNS}) VALUES {{rows}}"

BIND_ATTEMPT = "UPDATE attempts SET provider_message_id = ? WHERE seq = ? AND n = ?"
"""A look-up found it: the attempt that was uncertain learns its provider's id."""

OVERTAKEN_ONES = "WITH v (seq, n) AS (VALUES {rows}) " + (
    grouped(
        "a.seq, a.n, a.provider_message_id, a.receipt, a.receipt_code, a.receipt_at",
        "v CROSS JOIN attempts AS a ON a.seq = v.seq AND a.n = v.n ",
    )
    + "WHERE a.outcome = 'overtaken'"
)

KEEP_RECEIPT = (
    "UPDATE attempts SET receipt = v.receipt, receipt_code = v.code, receipt_at = v.at "
    f"FROM {listed('seq, n, receipt, code, at')} WHERE attempts.seq = v.seq AND attempts.n = v.n"
)
"""What receipts said of a call, beside its own end, which came later."""

FORGET_OVERTAKEN = "DELETE FROM attempts WHERE seq = ? AND n = ? AND outcome = 'overtaken'"
