"""With which SQL is it found out whose a provider's message id is?

Ids that look-ups found are indexed; the others are looked for backward, piece by piece (`smsd.store.binding` says why).
"""

from __future__ import annotations

BOUND_TO_OTHER_BY_LOOKUP = (
    "SELECT 1 FROM attempts "
    "WHERE outcome IN ('unknown', 'crashed') AND provider_message_id = ? AND seq <> ? AND +provider = ?"
)

BOUND_BY_LOOKUP = (
    "SELECT provider_message_id, provider FROM attempts "
    "WHERE outcome IN ('unknown', 'crashed') AND provider_message_id IN ({ids})"
)

BOUND_BY_ANSWER = (
    "SELECT provider_message_id, provider FROM attempts WHERE nr >= ? AND nr < ? AND +provider_message_id IN ({ids})"
)

EARLIEST_DOUBT = "SELECT min(claimed_at) FROM messages WHERE state = 1 AND uncertain = 1"

STEP_BACK = "SELECT nr, settled_at FROM attempts WHERE nr < ? ORDER BY nr DESC LIMIT 1 OFFSET ?"
