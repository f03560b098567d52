"""Do the helps tell the truth? Examples are real command lines, and words of the daemon are the daemon's words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from smsd.cli import frame
from smsd.cli.failing import Family
from smsd.cli.help import ALIASES, topic_text, topics
from smsd.cli.main import COMMANDS, INTERRUPTED, SECTIONS, smsd
from smsd.config.changes import RESTART
from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.core.message import State
from smsd.core.verdict import Category
from smsd.core.waiting import Reason
from smsd.listeners.http.routes import OPEN_ROUTES, ROUTES
from smsd.listeners.operations import OPERATIONS, Scope
from tests.cli import codes, consent
from tests.cli.helpers import Run

SEPARATORS = {"|", "||", "&&", ";", ">", "<", "<<<", "$(", ")", "("}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with all its words."""
    root = click.Context(smsd)
    for name in COMMANDS:
        command = smsd.get_command(root, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {word}", command.commands[word]) for word in command.commands)


ALL = dict(commands())

FAMILIES = {"suppress", "callbacks", "provider", "failed", "campaign"}


def example_lines(text: str) -> list[str]:
    return [line.strip() for line in text.partition("Examples:\n")[2].splitlines() if line.strip()]


def calls(line: str) -> Iterator[list[str]]:
    """The words after `smsd` of every call in a shell line."""
    line = re.sub(r'"\$\((smsd[^)]*)\)"', r"(\1)", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = [*lexer]
    for n, word in enumerate(words):
        if word == "smsd" and (n == 0 or words[n - 1] in SEPARATORS or words[n - 1] in {"sudo", "xargs"}):
            end = next((i for i in range(n + 1, len(words)) if set(words[i]) <= set("|&;<>()")), len(words))
            yield [*words[n + 1 : end], *(["ID"] if n and words[n - 1] == "xargs" else [])]


def parse(words: list[str]) -> None:
    """As the console script would, but for doing it. Raises click.ClickException."""
    command: click.Command = smsd
    rest = words
    ctx: click.Context | None = None
    while True:
        ctx = click.Context(command, info_name="smsd", parent=ctx)
        if not isinstance(command, click.Group):
            command.parse_args(ctx, rest)
            return
        if isinstance(command, Family):
            rest = command.spelled_out(rest)
        # As a group does, but for what it keeps for itself.
        rest = click.Command.parse_args(command, ctx, rest)
        _, found, rest = command.resolve_command(ctx, rest)
        assert found is not None
        command = found


def test_a_call_is_found_wherever_it_stands() -> None:
    assert [*calls('echo "a b" | smsd send +1 - --key k && smsd ping')] == [["send", "+1", "-", "--key", "k"], ["ping"]]
    assert [*calls("smsd list --json | jq -r .id | xargs smsd retry")] == [["list", "--json"], ["retry", "ID"]]
    assert [*calls('eval "$(smsd completion bash)"')] == [["completion", "bash"]]
    with pytest.raises(click.ClickException):
        parse(["send", "+1", "x", "--no-such-option"])


@pytest.mark.parametrize("name", [name for name in ALL if name != "bench"])
def test_examples_are_real(name: str) -> None:
    command = ALL[name]
    text = command.epilog or command.help or ""
    lines = example_lines(text)
    assert lines, "a command without an example"
    found = [words for line in lines for words in calls(line)]
    assert any(" ".join(words).startswith(name) for words in found)
    for words in found:
        if words and words[0] != "bench":
            parse(words)


@pytest.mark.parametrize("topic", topics())
def test_commands_in_a_topic_are_real(topic: str) -> None:
    text = topic_text(topic) or ""
    assert max(map(len, text.splitlines())) <= 100
    for name in re.findall(r"\bsmsd ([a-z][a-z-]*)\b(?! (?:listens|accepts))", text):
        assert name in COMMANDS or name in {"can", "owes", "does"}, name
    for line in text.splitlines():
        if line.strip().startswith("smsd "):
            for words in calls(re.split(r" {2,}", line.strip())[0]):
                if words[0] in COMMANDS:
                    parse(words)


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("states", {state.label for state in State}),
        ("errors", {str(category) for category in Category}),
        ("breaker", {str(standing) for standing in Standing}),
        ("waiting", {str(reason) for reason in Reason}),
        ("events", {str(kind) for kind in Kind}),
        ("tokens", {str(scope) for scope in Scope}),
        (
            "exit-codes",
            {str(value) for name, value in vars(frame).items() if name.startswith("EX_")} | {"0", str(INTERRUPTED)},
        ),
        ("environment", {"SMSD_SOCKET", "SMSD_URL", "SMSD_TOKEN", "TZ", "NO_COLOR"}),
    ],
)
def test_the_words_of_a_topic_are_those_of_the_code(topic: str, words: set[str]) -> None:
    told = re.findall(r"^ {2,5}([\w.]+) {2,}\S", topic_text(topic) or "", re.MULTILINE)
    assert set(told) - {"smsd"} == words - ({"EXIT_CODES"} & words)
    assert len(told) == len(set(told))


def test_codes_are_those_of_the_adapters() -> None:
    assert topic_text("codes") == codes.document(), "run: python -m tests.cli.codes"


def test_words_of_consent_are_those_of_the_code() -> None:
    assert topic_text("consent") == consent.document(), "run: python -m tests.cli.consent"


def test_operations_of_the_socket() -> None:
    told = re.search(r"^Operations: ([a-z_\s]+)\n\n", topic_text("socket") or "", re.MULTILINE)
    assert told is not None
    assert set(told[1].split()) == set(OPERATIONS)


def test_routes() -> None:
    """Every route is named, if only by its last word; longer ones are folded together for readers."""
    told = topic_text("http") or ""
    for path in {*(route.path for route in ROUTES), *(route.path for route in OPEN_ROUTES)} - {"/v1/ping"}:
        assert path.rpartition("/")[2].strip("{}").upper() in told.upper(), path


def test_what_needs_a_restart() -> None:
    told = re.findall(r"^  \[(\w+)\] +(.+)$", topic_text("reload") or "", re.MULTILINE)
    sections = {name: {key.partition(".")[2] for key in RESTART if key.startswith(f"{name}.")} for name, _ in told}
    assert set(sections) == {key.partition(".")[0] for key in RESTART}
    for name, keys in told:
        assert keys == "all keys" or set(keys.split(", ")) == sections[name]


def test_topics(smsd: Run) -> None:
    listed = smsd("help").out
    for name, title in topics().items():
        assert re.search(rf"^  {name} +{re.escape(title)}$", listed, re.MULTILINE)
    assert smsd("help", "states").out == topic_text("states")
    for alias, name in ALIASES.items():
        assert name in topics()
        assert topic_text(alias) == topic_text(name)
    assert smsd("help", "--json").documents == [{"topics": topics()}]
    assert smsd("help", "states", "--json").documents[0]["topic"] == "states"


def test_the_help_of_a_command(smsd: Run) -> None:
    assert smsd("help", "send").out.startswith("Usage: smsd send [OPTIONS] TO [TEXT]")
    assert smsd("help", "token", "new").out.startswith("Usage: smsd token new [OPTIONS]")
    assert "smsd backup --help" in smsd("help", "backup").out
    assert smsd("help", "nonsense").code == 64
    assert smsd("help", "send", "nonsense").code == 64
    assert smsd("help", "../help").code == 64


def test_every_command_stands_in_the_help_once(smsd: Run) -> None:
    told = smsd("--help").out
    for heading, names in SECTIONS.items():
        assert f"{heading}:\n" in told
        for name in names:
            assert len(re.findall(rf"^  {name} ", told, re.MULTILINE)) == 1
    assert not re.findall(r"^  [a-z-]+ .*\.\.\.$", told, re.MULTILINE), "a summary that does not fit"


@pytest.mark.parametrize("name", [name for name in ALL if name not in {"bench", "run", "token", *FAMILIES}])
def test_every_command_answers_programs(name: str) -> None:
    """`bench` takes its own words, `run` gives no answer, `token` and the like are families."""
    assert any("--json" in param.opts for param in ALL[name].params)


def test_no_token_is_ever_an_argument() -> None:
    for name, command in ALL.items():
        assert not any("--token" in param.opts for param in command.params), name
