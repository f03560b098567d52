"""Does `smsd inbound` show what came in, all of it or what is asked for?"""

from __future__ import annotations

from tests.cli.fake import Fake
from tests.cli.helpers import TO, Run

OURS = "+15005550006"


def received(fake: Fake, *texts: str, **fields: str | None) -> None:
    """They come in, one after the other."""
    for text in texts:
        n = len(fake.texts) + 1
        usual: dict[str, str | None] = {
            "id": f"in-{n}",
            "from": TO,
            "to": OURS,
            "text": text,
            "tenant": "shop",
            "provider": "main",
        }
        usual |= {"provider_message_id": f"SM{n}", "message": None, "word": None, "sent_at": None}
        fake.texts.append({**usual, "received_at": f"2026-01-02T03:04:{n:02d}.000Z", **fields})


def test_texts_are_shown_newest_first(smsd: Run, fake: Fake) -> None:
    assert smsd("inbound") == (0, "No such texts.\n", "")
    received(fake, "Hello\nthere")
    received(fake, "STOP", **{"from": "12345", "word": "stop"})
    head, *lines = smsd("inbound").out.splitlines()
    assert head.split() == ["RECEIVED", "FROM", "TO", "WORD", "TENANT", "TEXT"]
    assert [line.split()[-1] for line in lines] == ["STOP", "Hello\\nthere"]
    assert ("12345" in lines[0], "stop" in lines[0], TO in lines[1]) == (True, True, True)
    assert [each["text"] for each in smsd("inbound", "--json").documents] == ["STOP", "Hello\nthere"]


def test_filters_are_the_daemons_and_the_limit_is_told(smsd: Run, fake: Fake) -> None:
    received(fake, "1", "2", "3")
    received(fake, "4", **{"from": "12345"})
    assert [each["text"] for each in smsd("inbound", "--from", TO, "--json").documents] == ["3", "2", "1"]
    told = ("--from", TO, "--to", OURS, "--tenant", "shop", "--since", "2026-01-02T00:00:00Z")
    assert smsd("inbound", *told, "--limit", "7").code == 0
    asked = {name: value for name, value in fake.requests[-1].items() if name not in {"op", "ref"}}
    assert asked == {"from": TO, "to": OURS, "tenant": "shop", "since": "2026-01-02T00:00:00Z", "limit": 8}
    for form in ((), ("--json",)):
        cut = smsd("inbound", "--limit", "2", *form)
        assert cut.code == 0
        assert "2 shown, there are more" in cut.err
        assert len(cut.out.splitlines()) == (2 if form else 3)


def test_what_a_text_holds_does_not_move_the_terminal(smsd: Run, fake: Fake) -> None:
    received(fake, "\x1b[2J\x07gone\r\u202eabc")
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(smsd("inbound").out)
