"""Does a gateway that a configuration describes find its way back to a running engine?"""

from __future__ import annotations

import hmac
import json
from pathlib import Path

from smsd.core.message import State
from smsd.engine.hooks import Taken
from smsd.providers.base import HookKind, Outcome, Request
from tests.config.files import ENVIRON
from tests.engine.rig import answer
from tests.engine.test_policies import Configured

SECRET = "a-secret-of-the-path"
TEXT = f"""
[http]
public_url = "https://sms.example.com"
[providers.box]
type = "http"
rate = "10/s"
url = "https://box.example.net/send"
fields = {{to = "{{to}}", text = "{{text}}", ref = "{{id}}", dlr = "{{callback_url}}"}}
id_path = "id"
webhook_secret = "{SECRET}"
signature = {{scheme = "hmac", header = "X-Signature"}}
signing_key = {{env = "SMS_SIGNING_KEY"}}
answer = {{content_type = "application/json", body = "{{}}"}}
reports.items = "reports"
reports.reference = "ref"
reports.status = "state"
reports.statuses = {{delivered = "ok", undelivered = "lost"}}
reports.code = "why"
reports.codes = [{{code = "busy", category = "UNDELIVERED", action = "resend", delays = ["30s"], max_attempts = 2}}]
inbound = {{from = "from", to = "to", text = "text"}}
"""


async def reported(rig: Configured, *reports: dict[str, str], secret: str | None = SECRET, key: str = "") -> Taken:
    """The answer to a request that brings these reports."""
    hooks = rig.engine.service.hooks
    assert hooks is not None
    body = json.dumps({"reports": reports}).encode()
    made = hmac.new((key or ENVIRON["SMS_SIGNING_KEY"]).encode(), body, "sha256").hexdigest()
    target = f"/webhooks/box/status/{secret or ''}"
    headers = {"x-signature": made, "content-type": "application/json"}
    return await hooks.take("box", HookKind.STATUS, secret, "POST", target, headers, body)


def test_its_reports_take_effect(tmp_path: Path) -> None:
    rig = Configured(tmp_path, TEXT)
    sent: list[dict[str, str]] = []

    async def story() -> None:
        await rig.start()
        first, second = await rig.accepted(), await rig.accepted(text="2")
        await rig.seconds(2)
        assert sent[0]["dlr"] == f"https://sms.example.com/webhooks/box/status/{SECRET}?m={first}&a=1"
        # The path's secret and the signature must both be there, and nothing of a request that lacks one counts.
        assert await reported(rig, {"ref": first, "state": "ok"}, secret=None) == Taken(404)
        assert await reported(rig, {"ref": first, "state": "ok"}, key="another") == Taken(403)
        assert (await rig.message(first)).state is State.SENT
        assert await reported(rig, {"ref": first, "state": "ok"}) == Taken(200, "application/json", b"{}")
        assert (await rig.message(first)).state is State.DELIVERED
        # A word that nobody listed is refused; what stands beside it is kept.
        assert await reported(rig, {"ref": first, "state": "odd"}, {"ref": second, "state": "lost", "why": "busy"}) == (
            Taken(400)
        )
        assert (await rig.message(second)).state is State.PENDING
        await rig.seconds(32)
        assert [each["text"] for each in sent] == ["Your code is 1", "2", "2"]
        assert (await reported(rig, {"ref": second, "state": "lost", "why": "busy"})).status == 200
        assert (await rig.message(second)).state is State.UNDELIVERED
        await rig.stop()

    def take(request: Request, n: int) -> tuple[Outcome, int]:
        sent.append(json.loads(request.body))
        return answer(200, id=f"g-{n}"), 0

    rig.script = take
    rig.run(story)
