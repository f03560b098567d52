"""What can be asked for at a door, by whom, and about whose messages?

Every operation stands here once: name, request and answer types, scope, tenant rule, handler. The socket is made from
this table, and so are the HTTP routes and their description. Doors know bytes and peers; handlers know neither.

Scopes: `send` (submit, cancel, reschedule), `read`, `admin`. Tenant rules: an OWN operation sees only the caller's
tenant unless the caller has them all; an ALL operation is about the daemon as a whole and needs a caller who has them
all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from smsd import wire
from smsd.engine.service import Service
from smsd.listeners import (
    alerting,
    auditing,
    calling_back,
    campaigning,
    failing,
    handlers,
    planning,
    receiving,
    reporting,
    suppressing,
)
from smsd.listeners.callers import Caller, ProblemError, Reach, Scope, store_fault

__all__ = ["OPERATIONS", "SEND", "Caller", "Handler", "Operation", "ProblemError", "Reach", "Scope", "store_fault"]

Handler = Callable[[Service, Caller, Any], Awaitable[msgspec.Struct]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    name: str
    request: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    scope: Scope
    reach: Reach
    handler: Handler
    envelope: str = ""
    """The name under which the socket's answer carries it; empty: its fields stand beside `ok` and `ref`."""

    def admit(self, caller: Caller) -> None:
        """Raises ProblemError not_allowed unless the caller has the scope and the reach."""
        if self.scope not in caller.scopes:
            raise ProblemError.of("not_allowed", f"`{self.name}` needs the scope {self.scope}; {caller.name} lacks it.")
        if self.reach is Reach.ALL and not caller.everyone:
            text = f"`{self.name}` is about the whole daemon; {caller.name} may only see and touch its own messages."
            raise ProblemError.of("not_allowed", text)


_SEND, _READ, _ADMIN = Scope.SEND, Scope.READ, Scope.ADMIN
_OWN, _ALL = Reach.OWN, Reach.ALL

SEND = Operation("send", wire.SendLine, wire.Acceptance, _SEND, _OWN, handlers.send)

OPERATIONS: Mapping[str, Operation] = {
    operation.name: replace(operation, handler=auditing.audited(operation.name, operation.scope, operation.handler))
    for operation in (
        SEND,
        Operation("get", wire.Get, wire.MessageView, _READ, _OWN, handlers.get, "message"),
        Operation("list", wire.List, wire.MessageList, _READ, _OWN, handlers.list_),
        Operation("attempts", wire.Attempts, wire.AttemptList, _READ, _OWN, handlers.attempts),
        Operation("cancel", wire.Cancel, wire.MessageView, _SEND, _OWN, handlers.cancel, "message"),
        Operation("reschedule", wire.Reschedule, wire.MessageView, _SEND, _OWN, handlers.reschedule, "message"),
        Operation("retry", wire.Retry, wire.MessageView, _ADMIN, _OWN, handlers.retry, "message"),
        Operation("campaign", wire.CampaignNamed, wire.CampaignView, _READ, _OWN, campaigning.campaign, "campaign"),
        Operation("campaigns", wire.Campaigns, wire.CampaignList, _READ, _OWN, campaigning.campaigns),
        Operation("campaign_create", wire.CampaignCreate, wire.CampaignMade, _SEND, _OWN, campaigning.create),
        Operation("campaign_pause", wire.CampaignPause, wire.CampaignView, _SEND, _OWN, campaigning.pause, "campaign"),
        Operation(
            "campaign_resume", wire.CampaignResume, wire.CampaignView, _SEND, _OWN, campaigning.resume, "campaign"
        ),
        Operation(
            "campaign_cancel", wire.CampaignCancel, wire.CampaignView, _SEND, _OWN, campaigning.cancel, "campaign"
        ),
        Operation("campaign_delete", wire.CampaignDelete, wire.CampaignDeleted, _SEND, _OWN, campaigning.delete),
        Operation("campaign_status", wire.CampaignStatus, wire.CampaignStatusView, _READ, _OWN, campaigning.status),
        Operation("stats", wire.Stats, wire.StatsView, _READ, _OWN, handlers.stats),
        Operation("alerts", wire.Alerts, wire.AlertList, _READ, _ALL, alerting.alerts),
        Operation("user", wire.User, wire.UserView, _READ, _OWN, handlers.user),
        Operation("recipient", wire.Recipient, wire.RecipientView, _READ, _OWN, handlers.recipient),
        Operation("suppressions", wire.Suppressions, wire.SuppressionList, _ADMIN, _ALL, suppressing.suppressions),
        Operation("suppress", wire.Suppress, wire.KeptSuppression, _ADMIN, _ALL, suppressing.suppress),
        Operation("unsuppress", wire.Unsuppress, wire.LiftedSuppression, _ADMIN, _ALL, suppressing.unsuppress),
        Operation("inbound", wire.Inbound, wire.InboundList, _READ, _OWN, receiving.inbound),
        Operation("report_daily", wire.ReportDaily, wire.DailyReport, _READ, _OWN, reporting.daily),
        Operation("report_errors", wire.ReportErrors, wire.ErrorReport, _READ, _OWN, reporting.errors),
        Operation("report_retries", wire.ReportRetries, wire.RetryReport, _READ, _OWN, reporting.retries),
        Operation("report_rate", wire.ReportRate, wire.RateReport, _READ, _OWN, reporting.rate),
        Operation("report_cost", wire.ReportCost, wire.CostReport, _READ, _OWN, reporting.cost),
        Operation("providers", wire.Providers, wire.ProviderList, _READ, _OWN, handlers.providers),
        Operation("pause", wire.Pause, wire.ProviderView, _ADMIN, _ALL, handlers.pause, "provider"),
        Operation("resume", wire.Resume, wire.ProviderView, _ADMIN, _ALL, handlers.resume, "provider"),
        Operation("register", wire.Register, wire.RegisterView, _ADMIN, _ALL, calling_back.register),
        Operation("callbacks", wire.Callbacks, wire.CallbackList, _READ, _OWN, calling_back.callbacks),
        Operation("replay", wire.Replay, wire.ReplayView, _ADMIN, _OWN, calling_back.replay),
        Operation("failed", wire.Failed, wire.MessageList, _ADMIN, _OWN, failing.failed),
        Operation("failed_retry", wire.FailedRetry, wire.RetriedView, _ADMIN, _OWN, failing.failed_retry),
        Operation("failed_delete", wire.FailedDelete, wire.DeletedView, _ADMIN, _OWN, failing.failed_delete),
        Operation("plan", wire.Plan, wire.PlanStep, _SEND, _OWN, planning.plan),
        Operation("audit", wire.Audit, wire.AuditList, _ADMIN, _OWN, auditing.audit),
        Operation("events", wire.Events, wire.EventList, _READ, _OWN, handlers.events),
        Operation("reload", wire.Reload, wire.ReloadView, _ADMIN, _ALL, handlers.reload),
        Operation("backup", wire.Backup, wire.Chunk, _ADMIN, _ALL, handlers.backup),
        Operation("metrics", wire.Metrics, wire.Exposition, _READ, _ALL, handlers.metrics),
        Operation("ping", wire.Ping, wire.Pong, _READ, _OWN, handlers.ping),
    )
}
