"""Does each command ask the right thing, say it readably and as JSON, and leave with the right code?"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from smsd.cli.frame import exit_code
from smsd.cli.main import COMMANDS
from smsd.client.errors import KINDS
from tests.cli.fake import COUNTS, PROVIDER, Fake
from tests.cli.helpers import TO, UNKNOWN, Run, on_terminal, process
from tests.doubles.fake_daemon import Do, RefusedError

CLIENT_OF_SEND = (
    *("asking", "channel", "copying", "doors", "errors", "following", "link"),
    *("loss", "many", "paging", "place", "sync", "tries", "words"),
)
"""What of the client a send over the socket needs; what belongs to HTTP is not in it."""


class TestSend:
    def test_prints_the_id(self, smsd: Run, fake: Fake) -> None:
        done = smsd("send", TO, "Hello")
        assert (done.code, done.err) == (0, "")
        assert done.out.strip() in fake.messages
        assert fake.requests == [{"op": "send", "to": TO, "text": "Hello", "ref": 1}]

    def test_every_option_reaches_the_daemon(self, smsd: Run, fake: Fake) -> None:
        at = "2026-01-02T08:00:00+01:00"
        words = (
            f"--from smsd --priority high --send-at {at} --ttl 2h --expires-at {at} --key k --user u --type t"
            " --tenant a --callback-url https://a.example.org/cb"
            " --metadata order=7 --metadata x=a=b --provider main --max-attempts 3 --profile fast"
            " --overflow truncate"
        )
        done = smsd("send", TO, "Hello", *words.split(), "--json")
        assert done.documents[0]["replayed"] is False
        assert fake.requests == [
            {
                **{
                    "op": "send",
                    "ref": 1,
                    "to": TO,
                    "text": "Hello",
                    "from": "smsd",
                    "priority": "high",
                    "send_at": at,
                },
                **{"ttl": "2h", "expires_at": at, "idempotency_key": "k", "user": "u", "type": "t", "tenant": "a"},
                **{"callback_url": "https://a.example.org/cb"},
                **{"metadata": {"order": "7", "x": "a=b"}, "provider": "main", "max_attempts": 3, "retry": "fast"},
                "overflow": "truncate",
            }
        ]

    def test_a_template_takes_the_texts_place(self, smsd: Run, fake: Fake) -> None:
        words = ("--var", "code=2417", "--var", "name=a=b", "--lang", "de", "--campaign", "autumn")
        assert smsd("send", TO, "--template", "code", *words).code == 0
        sent = {"template": "code", "vars": {"code": "2417", "name": "a=b"}, "lang": "de", "campaign": "autumn"}
        assert fake.requests == [{"op": "send", "ref": 1, "to": TO, **sent}]
        assert "NAME=VALUE" in smsd("send", TO, "--template", "code", "--var", "code").err
        assert "given twice" in smsd("send", TO, "--template", "code", *words, "--var", "code=1").err
        done = smsd("send", TO)
        assert (done.code, "Missing argument 'TEXT'" in done.err) == (64, True)

    def test_reads_the_text_from_standard_input(self, fake: Fake) -> None:
        done = process("send", TO, "-", stdin="Grüße\nzwei\r\n".encode())
        assert done.returncode == 0
        assert fake.requests[0]["text"] == "Grüße\nzwei"

    @pytest.mark.parametrize(
        ("stdin", "told"), [(b"caf\xe9", b"not UTF-8 at byte 3"), (b"x" * 70_000, b"longer than any")]
    )
    def test_refuses_a_standard_input_that_is_no_message(self, fake: Fake, stdin: bytes, told: bytes) -> None:
        done = process("send", TO, "-", stdin=stdin)
        assert (done.returncode, done.stdout) == (65, b"")
        assert told in done.stderr
        assert fake.requests == []

    def test_a_word_that_is_not_utf_8_is_refused(self, fake: Fake) -> None:
        command = [sys.executable.encode(), b"-m", b"smsd", b"send", TO.encode(), b"caf\xe9"]
        done = subprocess.run(command, check=False, capture_output=True, timeout=20)
        assert (done.returncode, fake.requests) == (65, [])
        assert b"UTF-8" in done.stderr

    @pytest.mark.parametrize(
        "words",
        [
            ("--metadata", "no-equals-sign"),
            ("--metadata", "=value"),
            ("--metadata", "a=1", "--metadata", "a=2"),
            ("--max-attempts", "0"),
            ("--priority", "urgent"),
            ("--wait=-1",),
            ("--wait=2h",),
            ("--wait=soon",),
            ("--unknown",),
            ("third",),
        ],
    )
    def test_a_wrong_command_line_is_64(self, smsd: Run, fake: Fake, words: tuple[str, ...]) -> None:
        done = smsd("send", TO, "Hello", *words)
        assert (done.code, done.out, fake.requests) == (64, "", [])
        assert "smsd send --help" in done.err

    @pytest.mark.parametrize("state", ["sent", "delivered"])
    def test_waits_until_it_is_sent(self, smsd: Run, fake: Fake, state: str) -> None:
        fake.settle_as = state
        done = smsd("send", TO, "Hello", "--wait")
        id, told = done.out.splitlines()
        assert (done.code, id in fake.messages) == (0, True)
        assert told.startswith(f"{state} by ")
        assert smsd("send", TO, "Hello", "--json", "--wait").documents[0]["state"] == state

    def test_waits_no_longer_than_asked(self, smsd: Run, fake: Fake) -> None:
        done = smsd("send", TO, "Hello", "--wait=0.1")
        assert done.code == 75
        assert "Not sent within 0.1 s: it is pending. It is due" in done.err
        assert f"smsd show {done.out.strip()}" in done.err
        looks = [request for request in fake.requests if request["op"] == "get"]
        assert 1 <= len(looks) <= 3, "a daemon that does not wait is not asked all the time"
        assert looks[0]["wait"] == "100ms"

    def test_a_lost_connection_while_waiting_is_75_and_tells_the_id(self, smsd: Run, fake: Fake) -> None:
        fake.script.extend([Do.PROPERLY, Do.HANG_UP, Do.HANG_UP])
        done = smsd("send", TO, "Hello", "--wait=5s")
        assert done.code == 75
        assert done.out.strip() in fake.messages
        assert "The message is accepted" in done.err
        assert f"smsd show {done.out.strip()}" in done.err

    def test_a_failure_while_waiting_is_69(self, smsd: Run, fake: Fake) -> None:
        fake.settle_as = "failed"
        done = smsd("send", TO, "Hello", "--wait")
        assert done.code == 69
        assert "The message is failed" in done.err


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            *(
                (code, 65)
                for code in ("invalid_value", "recipient_suppressed", "no_route", "key_conflict", "wrong_state")
            ),
            *(
                (code, 75)
                for code in ("backlog_full", "disk_full", "shutting_down", "outcome_unknown", "limit_exceeded")
            ),
            ("not_allowed", 77),
            ("internal", 1),
        ],
    )
    def test_exit_codes(self, smsd: Run, fake: Fake, code: str, expected: int) -> None:
        fake.refuse["send"] = RefusedError(code, "Because.", "to")
        done = smsd("send", TO, "Hello")
        assert (done.code, done.out) == (expected, "")
        happened, remedy = (*done.err.splitlines(), "")[:2]
        assert happened == "smsd: Because."
        assert remedy == "" or remedy.startswith("      ")
        as_json = smsd("send", TO, "Hello", "--json")
        assert (as_json.code, as_json.err) == (expected, "")
        assert as_json.documents[0]["error"]["code"] == code

    def test_every_kind_of_error_has_a_code(self) -> None:
        for code, kind in KINDS.items():
            assert exit_code(kind(code, "Because.")) in {65, 69, 75, 77}

    def test_nobody_there(self, smsd: Run, tmp_path: Path) -> None:
        done = smsd("ping", "--socket", str(tmp_path / "none"))
        assert done.code == 69
        assert "does not run here" in done.err
        assert "smsd run --dev" in done.err
        assert smsd("ping", "--json", "--socket", str(tmp_path / "none")).documents[0]["error"]["code"] == "unreachable"

    def test_a_lost_send_says_how_to_look(self, smsd: Run, fake: Fake) -> None:
        fake.script.append(Do.ACT_AND_HANG_UP)
        done = smsd("send", TO, "Hello")
        assert done.code == 75
        assert "may have been taken" in done.err
        assert "smsd list --to" in done.err

    def test_what_a_provider_says_cannot_drive_the_terminal(self, smsd: Run, fake: Fake) -> None:
        error = {"category": "REJECTED", "code": "1", "message": "\x1b]0;owned\x07\u202e", "cause": None}
        id = fake.add(state="failed", error=error, waiting=None, text="two\nlines \x1b[2J")["id"]
        for done in (smsd("show", id), smsd("list")):
            assert "\\x1b]0;owned\\x07\\u202e" in done.out
            assert "\x1b" not in done.out
        assert "    two\n    lines \\x1b[2J\n" in smsd("show", id).out

    def test_usage(self, smsd: Run) -> None:
        assert (smsd().code, smsd("sned").code, smsd("show").code) == (64, 64, 64)
        assert smsd("--socket", "a", "--url", "http://127.0.0.1:1", "ping").code == 64
        assert smsd("--version") == (0, "smsd, version 0.1.0\n", "")

    @pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
    def test_help_has_examples(self, smsd: Run, command: str) -> None:
        done = smsd(command, "--help")
        assert done.code == 0
        assert f"smsd {command}" in done.out.partition("Examples:\n")[2]
        assert max(map(len, done.out.splitlines())) <= 100


def into(target: str | int, *args: str) -> subprocess.CompletedProcess[str]:
    """A command whose answer goes to the file of this name or number."""
    file = os.open(target, os.O_WRONLY) if isinstance(target, str) else os.dup(target)
    try:
        return subprocess.run(
            [sys.executable, "-m", "smsd", *args],
            check=False,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    finally:
        os.close(file)


class TestShow:
    def test_a_message_that_waits(self, smsd: Run, fake: Fake) -> None:
        waiting = {"reason": "retry", "until": "2026-01-02T03:05:05.000Z", "text": "It is tried again soon."}
        id = fake.add(waiting=waiting, metadata={"order": "7"}, user="u-1", segments=2, truncated=True)["id"]
        done = smsd("show", id)
        for expected in (
            "pending",
            TO,
            "It is tried again soon.",
            "+ order",
            "u-1",
            "2 segments, 5 units of gsm7, truncated",
        ):
            assert expected in done.out
        assert "Error" not in done.out
        assert "None" not in done.out

    def test_a_failed_one_with_its_attempts(self, smsd: Run, fake: Fake) -> None:
        error = {"category": "EXHAUSTED", "code": "30008", "message": "used up", "cause": "NETWORK"}
        id = fake.add(state="failed", error=error, waiting=None, attempts=1)["id"]
        fake.attempts[id] = [
            {
                **{"n": 1, "started_at": "2026-01-02T03:04:05.000Z", "latency_ms": 12, "provider": "main"},
                **{"outcome": "defer", "http_status": 503, "code": "30008", "category": "NETWORK"},
                **{"provider_message_id": None, "trace": "503\nretry-after: 5"},
            }
        ]
        done = smsd("show", id)
        assert "EXHAUSTED: used up (code 30008), after NETWORK" in done.out
        assert "Attempt 1 at main: defer" in done.out
        assert "12 ms" in done.out
        assert "      | 503\n      | retry-after: 5\n" in done.out
        document = smsd("show", id, "--json").documents[0]
        assert document == {"message": fake.messages[id], "attempts": fake.attempts[id]}

    def test_only_the_attempts(self, smsd: Run, fake: Fake) -> None:
        id = fake.add()["id"]
        assert smsd("show", id, "--attempts") == (0, "No call was made for it yet.\n", "")
        fake.attempts[id] = [
            {
                **{"n": 1, "started_at": "2026-01-02T03:04:05.000Z", "latency_ms": None, "provider": "main"},
                **{"outcome": "crashed", "http_status": None, "code": None, "category": None},
                **{"provider_message_id": None, "trace": None},
            }
        ]
        assert smsd("show", id, "--attempts").out.startswith("  Attempt 1 at main: crashed (")
        assert smsd("show", id, "--attempts", "--json").documents == [{"attempts": fake.attempts[id]}]
        assert "get" not in {request["op"] for request in fake.requests}

    def test_an_unknown_id(self, smsd: Run, fake: Fake) -> None:
        done = smsd("show", UNKNOWN)
        assert (done.code, done.out) == (65, "")
        assert UNKNOWN in done.err


class TestQueueAndList:
    def test_the_queue_says_why(self, smsd: Run, fake: Fake) -> None:
        first, second, sent = fake.add(), fake.add(state="processing"), fake.add(state="sent", waiting=None)
        done = smsd("queue")
        rows = done.out.splitlines()
        assert rows[0].split() == ["ID", "STATE", "PRIORITY", "TO", "TRIED", "UNTIL", "WHY"]
        assert [row.split()[0] for row in rows[1:3]] == [second["id"], first["id"]]
        assert rows[1].endswith("It is due and waits for its turn in the queue.")
        assert rows[3] == "1 pending, 0 processing."
        assert sent["id"] not in done.out
        assert [each["id"] for each in smsd("queue", "--json").documents] == [second["id"], first["id"]]
        assert len(smsd("queue", "--json", "--limit", "1").documents) == 1

    def test_one_who_may_not_see_the_counts(self, smsd: Run, fake: Fake) -> None:
        fake.refuse["stats"] = RefusedError("not_allowed", "No.")
        assert smsd("queue") == (0, "Nothing of yours waits.\n", "")
        fake.add()
        assert smsd("queue").code == 0

    def test_filters_and_order(self, smsd: Run, fake: Fake) -> None:
        fake.add(to="+15550100999")
        failed = fake.add(state="failed", waiting=None, error={"category": "REJECTED", "message": "no", "code": None})
        sent = fake.add(state="sent", waiting=None, provider="main")
        done = smsd("list", "--state", "failed", "--state", "sent", "--to", TO, "--since", "2026-01-01T00:00:00Z")
        assert [row.split()[0] for row in done.out.splitlines()] == ["ID", sent["id"], failed["id"]]
        assert done.out.splitlines()[2].endswith("REJECTED: no")
        assert fake.requests[0].items() >= {"state": "failed,sent", "to": TO, "since": "2026-01-01T00:00:00Z"}.items()
        assert len(smsd("list", "--json").documents) == 3
        assert smsd("list", "--state", "expired") == (0, "", "No such messages.\n")

    @pytest.mark.parametrize("command", ["list", "queue"])
    def test_that_there_are_more_is_said_beside_the_answer(self, smsd: Run, fake: Fake, command: str) -> None:
        for _ in range(51):
            fake.add()
        note = "smsd: 50 shown, there are more: --limit N\n"
        plain, as_json = smsd(command), smsd(command, "--json")
        assert (plain.err, plain.out.count("01920000-")) == (note, 50)
        assert (as_json.err, len(as_json.documents)) == (note, 50)
        for flags in ((), ("--json",)):
            all_of_them = smsd(command, "--limit", "51", *flags)
            assert (all_of_them.err, all_of_them.out.count("01920000-")) == ("", 51)

    def test_a_queue_shown_again_and_again_says_it_too(self, fake: Fake) -> None:
        for _ in range(2):
            fake.add()
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "smsd", "queue", "--limit", "1", "--watch=0.1s"]
        with subprocess.Popen(command, stdout=theirs, env={**os.environ, "TERM": "xterm"}) as process:
            os.close(theirs)
            seen = b""
            while seen.count(b"1 shown, there are more: --limit N") < 2:
                seen += os.read(ours, 65_536)
            process.send_signal(2)
            assert process.wait(20) == 0
        os.close(ours)
        first = seen.split(b"WHY")[1]
        assert b"1 shown" in first, "from the first time on"


class TestTheDaemon:
    def test_stats(self, smsd: Run, fake: Fake) -> None:
        done = smsd("stats")
        for expected in (
            "smsd 0.1.0, up 1 h",
            "Pending",
            "3 sent in the last minute, 40 in the last hour, 41 today",
            "REJECTED",
        ):
            assert expected in done.out
        assert smsd("stats", "--json").documents[0]["states"] == {"pending": 1, "processing": 0, "sent": 2, "failed": 1}

    def test_providers(self, smsd: Run, fake: Fake) -> None:
        head, row = smsd("providers").out.splitlines()
        assert row.split() == ["main", "sandbox", "open", "-", "100/min", "0", "3", "0", "-"]
        assert head.index("RATE") == row.index("100/min")
        assert smsd("providers", "--json").documents == [PROVIDER]

    def test_providers_of_one_who_may_not_see_their_load(self, smsd: Run, fake: Fake) -> None:
        load = dict.fromkeys(("in_flight", "sent_last_minute", "throttles_last_hour"))
        fake.providing = [{**PROVIDER, **load, "rate": None, "rate_now": None}]
        head, row = smsd("providers").out.splitlines()
        assert head.split() == ["PROVIDER", "TYPE", "STATE", "UNTIL", "RATE", "REASON"]
        assert row.split() == ["main", "sandbox", "open", "-", "unlimited", "-"]
        fake.stats = {**fake.stats, "providers": {"main": fake.providing[0]}}
        assert "IN FLIGHT" not in smsd("stats").out
        fake.providing = []
        assert smsd("providers").out == "No provider is configured and enabled for you.\n"

    def test_a_rate_that_is_lowered_for_now(self, smsd: Run, fake: Fake) -> None:
        fake.providing = [{**PROVIDER, "rate_now": 37.5, "recommended_rate": 38.9}]
        told = smsd("providers").out
        assert "37.5 of 100/min" in told
        assert 'recommended: rate = "38/min"' in told
        fake.stats = {**fake.stats, "providers": {"main": fake.providing[0]}}
        for command in ("stats", "queue"):
            assert 'recommended: rate = "38/min"' in smsd(command).out
        fake.providing = [{**PROVIDER, "rate_now": 1.5, "recommended_rate": 1.5}, {**PROVIDER, "rate_now": 60.0}]
        told = smsd("providers").out
        assert 'recommended: rate = "90/hour"' in told
        assert "60 of 100/min" in told
        assert "the rate of its account is lower" in told

    def test_counts_of_a_person(self, smsd: Run, fake: Fake) -> None:
        told = smsd("user", "alice").out
        assert told == (
            "  User          alice\n  Waiting       3\n  Sent          2 in the last hour, 4 today\n  Failed today  1\n"
        )
        for left, words in ((7, "7 more may go now"), (0, "none may go now (smsd help limits)")):
            fake.counts = {**COUNTS, "rate_limit_remaining": left}
            for command in (("user", "alice"), ("recipient", TO)):
                assert f"  Left of limits  {words}\n" in smsd(*command).out
        fake.counts = COUNTS
        assert TO in smsd("recipient", TO).out
        assert "Opted out" not in smsd("recipient", TO).out
        assert smsd("recipient", TO, "--json", "--tenant", "shop").documents[0]["pending"] == 3
        assert fake.requests[0].items() >= {"op": "user", "user": "alice"}.items()
        assert fake.requests[-1].items() >= {"op": "recipient", "number": TO, "tenant": "shop"}.items()

    def test_pause_and_resume(self, smsd: Run, fake: Fake) -> None:
        assert smsd("pause", "main") == (0, "main is paused: paused by root\n", "")
        assert smsd("resume", "main") == (0, "main is open\n", "")
        assert smsd("resume", "main", "--json").documents == [PROVIDER]
        assert smsd("pause", "other").code == 65

    def test_ping(self, smsd: Run, fake: Fake) -> None:
        assert smsd("ping").out.startswith(f"smsd 0.1.0 answers on {fake.path} in ")
        assert smsd("ping", "--json").documents[0].items() >= {"pong": True, "socket": str(fake.path)}.items()


class TestOnATerminal:
    def test_times_are_local_with_a_hint_and_tables_are_drawn(self, fake: Fake) -> None:
        id = fake.add(waiting={"reason": "scheduled", "until": "2999-01-02T03:04:05.000Z", "text": "Much later."})["id"]
        seen = on_terminal("queue")
        assert "2999-01-02 03:04:05 (in " in seen
        assert "\x1b[1m" in seen, "the head is bold"
        assert id in seen
        assert "(in " in on_terminal("show", id)

    def test_in_a_pipe_they_are_plain(self, fake: Fake) -> None:
        fake.add(waiting={"reason": "scheduled", "until": "2999-01-02T03:04:05.000Z", "text": "Much later."})
        done = process("queue", TZ="Europe/Berlin")
        assert b"2999-01-02 04:04:05+01:00" in done.stdout
        assert b"\x1b" not in done.stdout

    def test_characters_the_terminal_does_not_know(self, fake: Fake) -> None:
        id = fake.add(text="日本", waiting={"reason": "queue", "until": None, "text": "日本"})["id"]
        for command in ("show", id), ("queue",):
            done = process(*command, PYTHONIOENCODING="latin-1")
            assert (done.returncode, b"\\u65e5\\u672c" in done.stdout) == (0, True)
        assert "\\u65e5\\u672c" in on_terminal("queue", PYTHONIOENCODING="latin-1")


class TestCheckConfig:
    GOOD = '[providers.main]\ntype = "sandbox"\nrate = "100/min"\n'

    def test_a_good_one_is_printed(self, smsd: Run, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text(self.GOOD)
        done = smsd("check-config", "--config", str(tmp_path / "c.toml"))
        assert (done.code, "[providers.main]" in done.out) == (0, True)
        document = smsd("check-config", "--json", "--config", str(tmp_path / "c.toml")).documents[0]
        assert document["ok"] is True
        assert "[providers.main]" in document["config"]

    def test_all_faults_at_once(self, smsd: Run, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text(self.GOOD.replace("100/min", "fast") + "[nonsense]\n")
        done = smsd("check-config", "--config", str(tmp_path / "c.toml"))
        assert (done.code, done.out) == (78, "")
        assert "smsd: providers.main.rate: " in done.err
        assert "smsd: nonsense: " in done.err
        document = smsd("check-config", "--json", "--config", str(tmp_path / "c.toml")).documents[0]
        assert document["ok"] is False
        assert {fault["path"] for fault in document["faults"]} == {"providers.main.rate", "nonsense"}

    def test_no_such_file(self, smsd: Run, tmp_path: Path) -> None:
        done = smsd("check-config", "--config", str(tmp_path / "none.toml"))
        assert done.code == 78
        assert "none.toml" in done.err


def test_dev_and_config_exclude_each_other(smsd: Run) -> None:
    assert smsd("run", "--dev", "--config", "x.toml").code == 64


def test_a_bad_configuration_ends_run_with_78(tmp_path: Path) -> None:
    done = process("run", "--config", str(tmp_path / "none.toml"))
    assert (done.returncode, b"none.toml" in done.stderr) == (78, True)


class TestTheProcess:
    """What a shell sees; in-process tests cannot."""

    def test_send_imports_nothing_it_does_not_need(self, fake: Fake) -> None:
        code = (
            "import sys\n"
            "from smsd.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit as ended: assert ended.code == 0, ended.code\n"
            "print(*sorted(sys.modules))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "send", TO, "Hello"], capture_output=True, text=True, check=True, timeout=20
        )
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "smsd.cli.submit" in loaded
        heavy = {
            "rich",
            "aiohttp",
            "aiosqlite",
            "asyncio",
            "msgspec",
            "uvloop",
            "sqlite3",
            "logging",
            "phonenumbers",
            "ssl",
            "http.client",
        }
        assert loaded.isdisjoint(heavy)
        assert {name for name in loaded if name.startswith("smsd.")} == {
            *("smsd.cli", "smsd.cli.frame", "smsd.cli.main", "smsd.cli.submit", "smsd.client"),
            *(f"smsd.client.{name}" for name in CLIENT_OF_SEND),
        }

    def test_exit_codes(self, fake: Fake, tmp_path: Path) -> None:
        assert process("send", TO, "Hello").returncode == 0
        assert process("send", "nonsense", "Hello").returncode == 65
        assert process("send").returncode == 64
        assert process("ping", SMSD_SOCKET=str(tmp_path / "none")).returncode == 69

    FULL = "smsd: the answer could not be written: No space left on device"

    @pytest.mark.parametrize(
        "words",
        ["list", "list --limit 200", "list --limit 200 --json", "queue", "stats", "backup -", "help", "--help"],
    )
    def test_an_answer_that_cannot_be_written_is_74(self, fake: Fake, words: str) -> None:
        for _ in range(200):
            fake.add()
        done = into("/dev/full", *words.split())
        told = [line for line in done.stderr.splitlines() if "there are more" not in line]
        assert (done.returncode, told) == (74, [self.FULL])

    @pytest.mark.parametrize("words", ["", "--json", "--wait", "--wait --json"])
    def test_a_message_accepted_all_the_same_is_told_on_standard_error(self, fake: Fake, words: str) -> None:
        fake.settle_as = "sent"
        done = into("/dev/full", "send", TO, "Hello", *words.split())
        (id,) = fake.messages
        assert (done.returncode, done.stderr.splitlines()) == (74, [f"smsd: accepted as {id}", self.FULL])

    def test_when_standard_error_is_full_too_the_exit_code_says_it(self, fake: Fake) -> None:
        command = f"{sys.executable} -m smsd send {TO} Hello > /dev/full 2>&1"
        assert subprocess.run(["bash", "-c", command], check=False, timeout=20).returncode == 74

    def test_an_accepted_message_is_told_when_nobody_reads_the_answer(self, fake: Fake) -> None:
        unread, answer = os.pipe()
        os.close(unread)
        done = into(answer, "send", TO, "Hello")
        os.close(answer)
        assert done.stderr.splitlines() == [f"smsd: accepted as {next(iter(fake.messages))}"]

    def test_an_interrupt_ends_it_quietly(self, fake: Fake) -> None:
        fake.script.append(Do.STALL)
        command = [sys.executable, "-m", "smsd", "ping"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            while not fake.requests:
                assert running.poll() is None
            running.send_signal(2)
            _, err = running.communicate(timeout=20)
        assert (running.returncode, err.strip()) == (130, b"smsd: interrupted")

    def test_a_reader_that_stops_early(self, fake: Fake) -> None:
        for _ in range(200):
            fake.add()
        for words, begin in (("list --limit 200", "ID "), ("list --limit 200 --json", '{"id": ')):
            command = f"{sys.executable} -m smsd {words} | head -n 1"
            done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True, timeout=20)
            assert done.stdout.startswith(begin)
            assert done.stderr == ""

    def test_completion(self) -> None:
        done = process(_SMSD_COMPLETE="bash_complete", COMP_WORDS="smsd pa", COMP_CWORD="1")
        assert done.stdout == b"plain,pause\n"
