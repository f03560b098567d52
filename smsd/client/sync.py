"""How does a program without an event loop hand over a message and ask about it?

Client: one method for each operation of the daemon, over the socket or over HTTP. What a method asks for and what it
gives back is said here; in which way it is asked (at once, aside, page after page) is known by `asking`. AsyncClient in
aio.py is the same for asyncio programs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Self

from smsd.client.asking import Asking
from smsd.client.doors import find
from smsd.client.errors import SmsdError
from smsd.client.words import (
    REPORT_S,
    TIMEOUT,
    Document,
    Documents,
    document_at,
    documents_at,
    failed_request,
    given,
    report_request,
    reschedule_request,
    retry_request,
    submission,
)


class Client:
    """The daemon, for programs without an event loop. Threads may share one; their calls take turns on one connection.

    Without arguments $SMSD_URL says where it is, else the socket is used ($SMSD_SOCKET, or where the daemon puts it).
    `socket`: the socket's path. `url`: http://HOST:PORT or https://HOST, with a base path if need be; `token`: of the
    daemon's [[http.tokens]], else $SMSD_TOKEN; "" for none. Certificates of https are verified.

    It connects at the first call and again after a loss. `timeout`: seconds a call may take; a `wait` comes on top.
    Calls raise SmsdError or one of its kinds. Calls that wait (send_now, get with `wait`), events and backup have
    connections of their own and hold up no others.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._door = find(socket, url, token)
        self._daemon = Asking(self._door, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Where the daemon is: the path of its socket, or its URL."""
        return self._door.name

    def close(self) -> None:
        """Close the connections; the next call opens a new one. A call under way is waited for, except those that wait
        by themselves: they end with QueueUnavailable, and events() ends."""
        self._daemon.close()

    def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return self._daemon.ask({"op": op, **fields})

    def send(self, to: str, text: str | None = None, **fields: Any) -> Document:
        """Submit a message: `{id, state, segments, encoding, replayed}`, once it is durable.

        Fields: template (instead of the text: the name of one of the daemon's) with vars (a mapping) and lang ("de");
        from_, priority (high, normal, bulk), send_at, ttl ("2h") or expires_at (RFC 3339), idempotency_key, user, type,
        campaign, metadata, tenant, provider, max_attempts, retry, overflow, callback_url (where what becomes of it is
        told, instead of the tenant's).
        """
        return self._daemon.ask(submission(to, text, fields))

    def send_now(self, to: str, text: str | None = None, *, wait: str = "5s", **fields: Any) -> Document:
        """Submit a message and wait for its fate, at most `wait` ("60s"); its view then.

        `sent`, `failed` ...; `pending` or `processing` when time was up: it goes on from the queue. Fields as in
        send(); with an idempotency_key it can be repeated. Raises QueueUnavailable with maybe_taken also when the
        message was accepted and the daemon went away before it said what became of it.
        """
        return self._daemon.send_now(submission(to, text, fields), wait)

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        """Submit many, each a mapping of the fields of send(); results in their order, one bad one fails alone.

        A result is `{index, ok: True, id, state, ...}` or `{index, ok: False, error: {code, message, field, errors}}`.
        Uses a connection of its own and reads up to WINDOW items ahead (over HTTP a batch of 500). Raises
        QueueUnavailable when the daemon is gone for good, after the results of all items taken; its message says from
        which index on nothing was sent.
        """
        return self._daemon.send_many(items)

    def offer(self, to: str, text: str | None = None, *, timeout: float = 0.25, **fields: Any) -> Document:
        """Submit a message from code that must not fail because of it: never raises, takes at most `timeout` seconds.

        `{ok: True, id, ...}` or `{ok: False, error: {...}}`; error code outcome_unknown: it may have been taken.
        """
        try:
            return {"ok": True, **self._daemon.ask(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    def get(self, id: str, *, wait: str | None = None) -> Document:
        """Everything known of a message (the message view).

        `wait` ("5s", at most "60s"): answered when it has left the queue, or as it is after so long.
        """
        return self._daemon.get(id, wait)

    status = get

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Document]:
        """Messages, newest first, at most `limit`; pages are fetched as the iterator moves.

        Filters: state, to, user, tenant, campaign, category, since (RFC 3339).
        """
        return self._daemon.pages("list", filters, limit)

    def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return documents_at(self._daemon.ask({"op": "attempts", "id": id}), "attempts")

    def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return document_at(self._daemon.ask({"op": "cancel", "id": id}), "message")

    def reschedule(self, id: str, send_at: str, *, ttl: str | None = None, expires_at: str | None = None) -> Document:
        """Give a pending message another time; its view. Raises WrongState once it is being sent.

        `send_at`: RFC 3339; what is past means now. `ttl` ("2h") or `expires_at` (RFC 3339): its new end; without them
        it lives as long from its new time on as it would have from the old one.
        """
        return document_at(self._daemon.ask(reschedule_request(id, send_at, ttl, expires_at)), "message")

    def retry(self, id: str, *, ttl: str | None = None, expires_at: str | None = None, force: bool = False) -> Document:
        """Open a new round for a failed, undelivered or expired message; its view.

        `ttl` ("2h") or `expires_at` (RFC 3339): its new end. `force`: also one that failed UNCERTAIN, which may then
        arrive twice.
        """
        return document_at(self._daemon.ask(retry_request(id, ttl, expires_at, force)), "message")

    def campaigns(self, *, limit: int | None = None, tenant: str | None = None) -> Iterator[Document]:
        """Campaigns, newest first, at most `limit`: `{id, tenant, name, status, total, queued, sent, failed, processed,
        states, rate, send_between, created_at, changed_at, paused_at, cancelled_at, progress, eta}`."""
        return self._daemon.pages("campaigns", {"tenant": tenant}, limit)

    def campaign(self, id: str, *, tenant: str | None = None) -> Document:
        """One campaign, as `campaigns` shows it, with its `eta`: when the last that waits will go. `tenant`: whose
        (administrators, where several have one of that id)."""
        return document_at(self._daemon.ask(given("campaign", id=id, tenant=tenant)), "campaign")

    def campaign_status(self, id: str, *, tenant: str | None = None) -> Document:
        """How far a campaign is, in the shape of /api/campaigns/ID/status: `{campaign: {id, status, total, sent,
        failed, processed}, metrics: {queued, sent, processed, failed}}`."""
        return self._daemon.ask(given("campaign_status", id=id, tenant=tenant))

    def campaign_create(self, id: str | None = None, **fields: Any) -> Document:
        """Make a campaign and hand messages in: `{id, tenant, created, status, accepted, replayed, failed, refused,
        errors, total}`; the same again doubles nothing if `id` is the same.

        Fields: name, rate ("1000/hour"), send_between ({"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"}),
        recipients (numbers, or dicts with fields of a message), and any field of a message for all of them. They may
        also come later, with `send(..., campaign=id)`; over the socket all together are at most 64 KiB. `trial`: a
        word for `campaign_delete`, if none of these may be taken; say it again within 5 minutes until one was.
        """
        return self._daemon.ask(given("campaign_create", id=id, **fields))

    def campaign_pause(self, id: str, *, tenant: str | None = None) -> Document:
        """Send nothing of a campaign until it is resumed; its view."""
        return document_at(self._daemon.ask(given("campaign_pause", id=id, tenant=tenant)), "campaign")

    def campaign_resume(self, id: str, *, tenant: str | None = None) -> Document:
        """Send a campaign on; its view. Raises WrongState when it is cancelled."""
        return document_at(self._daemon.ask(given("campaign_resume", id=id, tenant=tenant)), "campaign")

    def campaign_cancel(self, id: str, *, tenant: str | None = None) -> Document:
        """Cancel all messages of a campaign that wait, for good; its view. A large one takes a while: see `queued`."""
        return document_at(self._daemon.ask(given("campaign_cancel", id=id, tenant=tenant)), "campaign")

    def campaign_delete(self, id: str, *, tenant: str | None = None, trial: str | None = None) -> Document:
        """Take away a campaign that never had a message: `{id, tenant, deleted}`. Raises WrongState for any other, and
        NotFound when it is gone already. `trial`: the word it was made with; it stays while others try it."""
        return self._daemon.ask(given("campaign_delete", id=id, tenant=tenant, trial=trial))

    def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version; alerts that are raised."""
        return self._daemon.ask({"op": "stats"})

    def alerts(self) -> Documents:
        """Alerts that are raised, oldest first, then the last that are over: `{name, state ("raised" | "cleared"),
        category, raised_at, cleared_at, text, remedy}`. For those who may read everybody's messages."""
        return documents_at(self._daemon.ask({"op": "alerts"}), "items")

    def user_stats(self, user: str, *, tenant: str | None = None) -> Document:
        """Counts of the messages about one of your users: `{user_id, sent_today, sent_last_hour, failed_today, pending,
        rate_limit_remaining}`. `tenant`: of this one only (administrators)."""
        return self._daemon.ask(given("user", user=user, tenant=tenant))

    def recipient_stats(self, number: str, *, tenant: str | None = None) -> Document:
        """The same counts of the messages to one number, with `recipient` for `user_id`."""
        return self._daemon.ask(given("recipient", number=number, tenant=tenant))

    def suppressions(
        self, *, scope: str | None = None, number: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        """Numbers that get nothing more, in order, at most `limit`: `{number, scope, at, source, code}`.

        `scope`: a provider's name, or "*": those that hold at every one. For administrators of the whole daemon.
        """
        return self._daemon.pages("suppressions", {"scope": scope, "number": number}, limit)

    def suppress(self, number: str, *, scope: str | None = None) -> Document:
        """Text this number no more: from one provider's senders (`scope`), else from all. It, with `added`: whether it
        is new. Submissions are refused from now on, what waits fails; a call under way runs on."""
        return self._daemon.ask(given("suppress", number=number, scope=scope))

    def unsuppress(self, number: str, *, scope: str | None = None) -> Document:
        """Let it be texted again; `{number, scope}`. What holds in another scope stays. Raises NotFound."""
        return self._daemon.ask(given("unsuppress", number=number, scope=scope))

    def inbound(
        self,
        *,
        from_: str | None = None,
        to: str | None = None,
        tenant: str | None = None,
        since: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Document]:
        """Texts received, newest first, at most `limit`: `{id, from, to, text, tenant, provider, provider_message_id,
        message, word, sent_at, received_at}`.

        `from_`: who wrote them; `to`: our number; `tenant`: of this one only (administrators); `since`: received then
        or later (RFC 3339).
        """
        filters = {"from": from_, "to": to, "tenant": tenant, "since": since}
        return self._daemon.pages("inbound", filters, limit)

    def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return documents_at(self._daemon.ask({"op": "providers"}), "providers")

    def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return document_at(self._daemon.ask({"op": "pause", "provider": provider}), "provider")

    def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return document_at(self._daemon.ask({"op": "resume", "provider": provider}), "provider")

    def register(self, provider: str, *, dry_run: bool = False) -> Document:
        """Let a provider know where to call back; `{provider, webhooks, needs, done, text, calls}`.

        Those without an API for that are not called: `text` says what to enter there. `dry_run`: only say where.
        `calls`: what came back since the daemon's start, `{taken, refused, unreadable, taken_at, wrong_at, wrong}`.
        Raises QueueUnavailable when the provider could not be asked (repeat it), SubmissionInvalid when it said no.
        """
        return self._daemon.ask(given("register", provider=provider, dry_run=dry_run or None))

    def callbacks(
        self, *, failed: bool = False, tenant: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        """Callbacks that wait (`failed`: that were given up), oldest first, at most `limit`: `{id, event, subject,
        tenant, url, created_at, next_try_at, tries, error, http_status, tried_at}`."""
        return self._daemon.pages("callbacks", {"failed": failed or None, "tenant": tenant}, limit)

    def replay_callbacks(self, ids: Iterable[str] | None = None) -> Document:
        """Try callbacks again that wait or were given up: these (at most 500 ids), or the oldest 1,000 of all given up
        and, with the last of them, all that wait; `{replayed, left}`. One that is not among them is passed over."""
        return self._daemon.ask(given("replay", ids=None if ids is None else [*ids]))

    def report(self, kind: str, **fields: Any) -> Document:
        """A report: daily, errors, retries, rate or cost. Its figures are said in `smsd help reports`.

        Fields: since, until (RFC 3339, or dates), tenant; campaign (not rate); by (daily, cost): day, tenant, campaign,
        user, type or provider; sla (daily): percent; format="csv": the table is in `csv`. Raises LimitExceeded when
        several are being made for you already.
        """
        return self._daemon.ask(report_request(kind, fields), at_least=REPORT_S)

    def events(self, *, after: str | None = None, kinds: str | None = None) -> Iterator[Document]:
        """What happens, as it happens: `{id, event, at, data}`, numbers masked. Never ends unless the client is closed.

        Begins after the event with the id `after`, else when the first one is asked for. `kinds`: names joined by
        commas, `message.*` for all that begin so. After a loss it goes on where it was, and waits for a daemon that is
        away; `{"event": "stream.lost"}` stands where events may be missing. Raises SmsdError when the daemon cannot be
        asked at first, or refuses.
        """
        return self._daemon.follow(after, kinds)

    def failed(self, *, limit: int | None = None, **filters: Any) -> Iterator[Document]:
        """Views of what failed or was not delivered, newest first, at most `limit`.

        Filters: tenant, campaign, category, user, to, provider (of the last call), since and until (accepted then or
        later, before then; RFC 3339).
        """
        return self._daemon.pages("failed", filters, limit)

    def failed_retry(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Open a new round for messages of the failed queue: these (at most 500 ids), those that filters find (as for
        `failed`), or all; `{retried, skipped, skipped_total, more, next_cursor, last_at}`.

        Other fields: rate ("100/min": they are due one after another), ttl ("2h": of each from when it is due), force
        (also those that failed UNCERTAIN, which may then arrive twice), limit (how many in this call, 1,000), cursor:
        while `more`, call again with the same fields and `next_cursor`. `skipped`: the first 100, `{id, code,
        message}`.
        """
        return self._daemon.ask(failed_request("failed_retry", ids, all, fields))

    def failed_delete(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Take messages of the failed queue away; `{deleted, skipped, skipped_total, more, next_cursor}`. Which, and
        how it goes on: as for `failed_retry`."""
        return self._daemon.ask(failed_request("failed_delete", ids, all, fields))

    def plan(self, rows: Iterable[Mapping[str, Any]], **fields: Any) -> Document:
        """What would happen if these messages were handed in (mappings of their fields); nothing is stored: `{rows,
        valid, invalid, errors, segments, cost, finishes_at, decided_by ...}` (smsd help plan). At most 1,000,000 rows.

        Fields: campaign, rate ("1000/hour") and send_between as for a campaign; tenant. An error's `index` counts the
        rows from 0.
        """
        return self._daemon.plan(rows, fields)

    def audit(self, *, limit: int | None = None, **filters: Any) -> Iterator[Document]:
        """What operators did, newest first, at most `limit`: `{at, who, tenant, operation, subject, detail, outcome}`.

        Filters: operation, who, since (RFC 3339), tenant. A null outcome: smsd ended before it was known.
        """
        return self._daemon.pages("audit", filters, limit)

    def reload(self) -> Document:
        """Let the daemon read its configuration again: `{changed, restart, warnings}`, key paths and sentences.

        Raises SubmissionInvalid with all faults of a file that was refused; the old settings stay.
        """
        return self._daemon.ask({"op": "reload"})

    def backup(self, file: BinaryIO) -> int:
        """Write a consistent copy of the outbox (a SQLite database with texts and numbers) into `file`; its bytes.

        The daemon makes the copy first: that may take a while and is waited for 15 minutes. Raises OSError from `file`;
        what is in it after an exception is no copy.
        """
        return self._daemon.copy(file)

    def metrics(self) -> str:
        """The daemon's figures in Prometheus' text format."""
        return str(self._daemon.ask({"op": "metrics"})["text"])

    def ping(self) -> Document:
        """`{pong: True, version}`"""
        return self._daemon.ask({"op": "ping"})
