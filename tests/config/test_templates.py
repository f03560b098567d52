"""Do `[templates]`, `loop_guard` and `duplicate_window` become what they say, and is every fault named?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.core.limits import Action, Per, Rule
from smsd.core.units import DAY, HOUR, MINUTE
from smsd.templates import TextTemplate
from tests.config.files import SANDBOX, faults, load

TWO = 'texts = {en = "Hello {{ name }}", "de-CH" = "Grüezi {{ name }}"}\n'


def template(tmp_path: Path, text: str) -> TextTemplate:
    found = load(tmp_path, f"{SANDBOX}[templates.hello]\n{text}").messages.templates["hello"]
    assert isinstance(found, TextTemplate)
    return found


def test_one_text_and_several(tmp_path: Path) -> None:
    assert template(tmp_path, 'text = """\nHello,\n{{ name }}"""').render({"name": "Ann"}, "de") == "Hello,\nAnn"
    found = template(tmp_path, TWO + 'default = "DE-ch"')
    assert found.render({"name": "Ann"}, "fr") == found.render({"name": "Ann"}, None) == "Grüezi Ann"
    assert found.render({"name": "Ann"}, "en-US") == "Hello Ann"
    only = template(tmp_path, 'texts = {de = "Hallo"}')
    assert (only.default, only.render({}, "en")) == ("de", "Hallo")


def test_there_are_none_by_default(tmp_path: Path) -> None:
    loaded = load(tmp_path, SANDBOX)
    assert loaded.messages.templates == {}
    assert loaded.guards == ()


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("", "text", "missing"),
        ('text = ""', "text", "is empty"),
        ("text = 7", "text", "a text in quotes"),
        ('text = "{{ a | uper }}"', "text", "did you mean `upper`"),
        ('text = "{{ a }"', "text", "line 1: it is no template"),
        ('text = "Hello"\n' + TWO, "text", "beside texts"),
        ('text = "Hello"\ndefault = "en"', "default", "one text for all"),
        (TWO, "default", "missing; write which of en, de-CH"),
        (TWO + 'default = "fr"', "default", "has no text"),
        (TWO.replace("{{ name }}", "{% for x in y %}{% endfor %}", 1) + 'default = "en"', "texts.en", "no loops"),
        (TWO.replace("Gr", "{{ a.b }}") + 'default = "en"', "texts.de-CH", "no parts of a value"),
        ('texts = {de = "a", DE = "b"}\ndefault = "de"', "texts.DE", "twice"),
        ('texts = {german_ = "a"}', "texts.german_", "not a language tag"),
        ("texts = {en = 1}", "texts.en", "a text in quotes"),
        ("texts = {}", "texts", "holds no text"),
        ("texts = 1", "texts", "a table"),
        ('text = "Hello"\nlanguage = "en"', "language", "unknown key"),
    ],
)
def test_each_fault_of_a_template(tmp_path: Path, text: str, path: str, words: str) -> None:
    found = faults(tmp_path, f"{SANDBOX}[templates.hello]\n{text}")
    assert words in found[f"templates.hello.{path}"]
    assert len(found) == 1, found


def test_the_faults_of_all_languages_are_told_together(tmp_path: Path) -> None:
    text = 'default = "en"\n[templates.hello.texts]\nen = "{{ a }"\nde = "{{ a | b }}"\nfr = "x"\n'
    found = faults(tmp_path, f'{SANDBOX}[templates."a b"]\ntext = "x"\n[templates.hello]\n{text}')
    assert found.keys() == {'templates."a b"', "templates.hello.texts.en", "templates.hello.texts.de"}


def test_guards(tmp_path: Path) -> None:
    def guards(text: str) -> tuple[Rule, ...]:
        return load(tmp_path, f"{SANDBOX}[messages]\n{text}").guards

    assert guards('loop_guard = "5/hour"') == (Rule(Per.TEXT, 5, HOUR, Action.REJECT),)
    assert guards('loop_guard = "5/10m"\nloop_guard_action = "hold"') == (Rule(Per.TEXT, 5, 10 * MINUTE, Action.DEFER),)
    assert guards('loop_guard = "off"\nloop_guard_action = "hold"\nduplicate_window = "0s"') == ()
    assert guards('duplicate_window = "7d"') == (Rule(Per.REPEAT, 1, 7 * DAY, Action.REPLAY),)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('loop_guard = "often"', "loop_guard", '"off"'),
        ('loop_guard = "5/33d"', "loop_guard", "remembered for 32d"),
        ('loop_guard = "100001/hour"', "loop_guard", "100000 at most"),
        ('loop_guard_action = "drop"', "loop_guard_action", "reject, hold"),
        ('duplicate_window = "8d"', "duplicate_window", "between 0ms and 7d"),
        ("duplicate_window = 10", "duplicate_window", "a duration"),
    ],
)
def test_each_fault_of_a_guard(tmp_path: Path, text: str, key: str, words: str) -> None:
    found = faults(tmp_path, f"{SANDBOX}[messages]\n{text}")
    assert found.keys() == {f"messages.{key}"}
    assert words in found[f"messages.{key}"]


@pytest.mark.parametrize(
    "text",
    [
        '[templates.a]\ntext = """\n"{{ name }}"\\\\\n\u20ac"""\n[templates."b.c"]\n' + TWO + 'default = "en"\n',
        '[messages]\nloop_guard = "3/90m"\nloop_guard_action = "hold"\nduplicate_window = "90s"\n',
        '[messages]\nloop_guard = "3/day"\n',
    ],
)
def test_what_is_shown_can_be_loaded(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, SANDBOX + text)
    again = load(tmp_path, config.describe(loaded))
    assert (again.messages, again.guards) == (loaded.messages, loaded.guards)
    assert config.compare(loaded, again) == config.Changes((), ())
