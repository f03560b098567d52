"""Does a template give what it says, in the language asked for, and can none of them stop the daemon?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import meta

from smsd import wire
from smsd.core.submission import Fault
from smsd.templates import TextTemplate, UnusableError
from smsd.templates.language import _SANDBOX, ALLOWED_FILTERS, ALLOWED_TESTS, MAX_NODES, MAX_RENDERED, MAX_SOURCE

CODE = TextTemplate(
    {"en": "Your code is {{ code }}.", "de": "Ihr Code lautet {{ code }}.", "pt-BR": "Seu código: {{ code }}"}, "en"
)


def one(text: str) -> TextTemplate:
    return TextTemplate({"": text})


def said(text: str, lang: str | None = None, /, **vars: object) -> str:
    found = one(text).render(vars, lang)
    assert isinstance(found, str), found
    return found


def faults(template: TextTemplate, /, **vars: object) -> list[tuple[str, str]]:
    found = template.render(vars, None)
    assert not isinstance(found, str), found
    assert all(fault.circumstantial for fault in found), "another configuration may take it"
    return [(fault.field, fault.code) for fault in found]


# -- what it gives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "vars", "expected"),
    [
        ("{{ user_name }}: {{ message }}", {"user_name": "Ann", "message": "hi"}, "Ann: hi"),
        ("{{ a }}", {"a": "{{ 7*7 }} <b>&"}, "{{ 7*7 }} <b>&"),
        ("{{ n }}|{{ x }}|{{ b }}", {"n": 3, "x": 2.5, "b": True}, "3|2.5|True"),
        ("{{ n * 2 + 1 }} {{ -n // 2 }} {{ n % 2 }} {{ n / 2 }}", {"n": 3}, "7 -2 1 1.5"),
        ("{{ a ~ '-' ~ n }} {{ a + a }}", {"a": "x", "n": 1}, "x-1 xx"),
        ("{% if n > 1 %}{{ n }} items{% elif n == 1 %}one{% else %}none{% endif %}", {"n": 2}, "2 items"),
        ("{% if n > 1 %}{{ n }} items{% elif n == 1 %}one{% else %}none{% endif %}", {"n": 0}, "none"),
        ('item{{ "s" if n != 1 else "" }}', {"n": 2}, "items"),
        ("{{ a | upper }} {{ a | capitalize }} {{ a | title }}", {"a": "ann lee"}, "ANN LEE Ann lee Ann Lee"),
        ("{{ a | truncate(8) }}|{{ a | truncate(8, true, '~') }}|{{ a | truncate(20) }}", {"a": "hello big world"},
         "hello...|hello b~|hello big world"),
        ("{{ a | replace('l', 'L') }} {{ x | round(1) }} {{ x | int }} {{ a | length }}", {"a": "all", "x": 2.66},
         "aLL 2.7 2 3"),
        ("{{ a in ['x', 'y'] }} {{ 'b' in a }} {{ a is in('xyz') }}", {"a": "x"}, "True False True"),
        ("{# said to nobody #}a{%- if b %} {% endif -%} c {% raw %}{{ x }}{% endraw %}", {"b": True}, "a c {{ x }}"),
        ("first\r\nsecond\n", {}, "first\nsecond"),
        ("{{ name | default('you') }}", {}, "you"),
    ],
)  # fmt: skip
def test_what_it_gives(text: str, vars: Mapping[str, object], expected: str) -> None:
    assert said(text, **vars) == expected


@pytest.mark.parametrize(
    ("lang", "beginning"),
    [
        (None, "Your"), ("en", "Your"), ("DE", "Ihr"), ("de-AT", "Ihr"), ("de-Latn-AT-x-vienna", "Ihr"), ("fr", "Your"),
        ("pt-br", "Seu"), ("pt-BR-x-rio", "Seu"), ("pt", "Your"), ("d", "Your"), ("", "Your"),
    ],
)  # fmt: skip
def test_the_nearest_language_is_taken(lang: str | None, beginning: str) -> None:
    found = CODE.render({"code": "2417"}, lang)
    assert isinstance(found, str)
    assert found.startswith(beginning)


def test_a_text_without_a_language_is_for_all() -> None:
    assert said("Hello", "de-AT") == "Hello"


# -- variables ---------------------------------------------------------------------------------------------------------


def test_what_is_missing_and_what_is_too_much_is_named() -> None:
    template = one("{{ user_name }}: {{ message }}")
    assert faults(template, message="x", mesage="y", **{"no\nname": 1}) == [
        ("vars.user_name", "missing_field"),
        ("vars.mesage", "unknown_field"),
        ("vars", "unknown_field"),
    ]
    assert len(faults(template, **{f"x{n}": 1 for n in range(1_000)})) == 2 + 8, "an answer has an end"


@pytest.mark.parametrize(
    ("text", "needed", "optional"),
    [
        ("{{ a }} {{ b }}", "ab", ""),
        ("{{ a | default('x') }}", "", "a"),
        ("{{ a | default(b) }}", "b", "a"),
        ("{{ a | upper | default('x') }}", "a", ""),
        ("{% if a is defined %}{{ a }}{% endif %}", "", "a"),
        ("{% if a is defined %}{{ a }}{% endif %}{{ a }}", "a", ""),
        ("{% if a is undefined %}none{% else %}{{ a }}{% endif %}", "", "a"),
        ("{% if a is undefined %}{{ a }}{% endif %}", "a", ""),
        ("{% if not a is defined %}none{% elif a > 1 %}{{ a }}{% endif %}", "", "a"),
        ("{% if a is defined and a > b %}{{ a }}{% endif %}", "b", "a"),
        ("{% if a is defined or b %}{{ a }}{% endif %}", "ab", ""),
        ("{% if a is undefined or a == 1 %}x{% else %}{{ a }}{% endif %}", "", "a"),
        ("{{ a if a is defined else b }}", "b", "a"),
        ("{% if a %}{{ b }}{% endif %}", "ab", ""),
    ],
)
def test_which_variables_must_be_given(text: str, needed: str, optional: str) -> None:
    template = one(text)
    assert (template.needed, template.optional) == (frozenset(needed), frozenset(optional))
    assert meta.find_undeclared_variables(_SANDBOX.parse(text)) == set(needed + optional)
    assert isinstance(template.render(dict.fromkeys(needed, 1), None), str), "what is optional may be left out"


def test_what_one_language_needs_all_of_them_need() -> None:
    template = TextTemplate({"en": "{{ a }}", "de": "{{ a }} {{ b | default('') }}", "fr": "{{ c }}"}, "en")
    assert (template.needed, template.optional) == (frozenset("ac"), frozenset("b"))


@pytest.mark.parametrize(
    ("text", "vars"),
    [("{{ a * 2 }}", {"a": "x"}), ("{{ 1 / a }}", {"a": 0}), ("{{ a < 1 }}", {"a": "x"}), ("{{ a | abs }}", {"a": "x"}),
     ("{{ a | truncate(1) }}", {"a": "secret"}), ("{{ a | round(n) }}", {"a": 1.5, "n": 400}),
     ("{{ a | title }}", {"a": "x" * 501}), ("{{ a * a * a }}", {"a": 1 << 53}),
     ("{{ 'a' * 1000000000 }}", {}), ("{{ none }}", {})],
)  # fmt: skip
def test_values_that_do_not_fit_are_a_fault(text: str, vars: dict[str, object]) -> None:
    found = one(text).render(vars, None)
    assert not isinstance(found, str)
    assert [(fault.field, fault.code) for fault in found] == [("vars", "invalid_value")]
    assert "secret" not in found[0].message


# -- what a template may not say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ ().__class__ }}", "no parts of a value"),
        ("{{ a['__class__'] }}", "no parts of a value"),
        ("{{ a | attr('__class__') }}", "no filter `attr`"),
        ("{% for i in range(10**9) %}x{% endfor %}", "no loops"),
        ("{{ range(10) }}", "no calls"),
        ("{{ lipsum() }}", "no calls"),
        ("{{ cycler.__init__.__globals__ }}", "no parts of a value"),
        ("{{ self }}", "`self`"),
        ("{{ 10 ** 10 }}", "no `**`"),
        ("{% set a = 1 %}", "only text"),
        ("{% macro m() %}{% endmacro %}", "only text"),
        ("{% include 'x' %}", "only text"),
        ("{% filter upper %}a{% endfilter %}", "only text"),
        ("{{ ['a'] }}", "only text"),
        ("{{ a | uper }}", "did you mean `upper`"),
        ("{{ a | format(1) }}", "there is no filter"),
        ("{{ a is sameas b }}", "there is no test"),
        ("{{ a | replace('a') }}", "cannot be used so"),
        ("{{ a is odd(3) }}", "cannot be used so"),
        ("{{ a | replace(*b) }}", "single values"),
        ("{{ 'a' if b }}", "needs an `else`"),
        ("one\n{{ a }", "line 2"),
        ("{% if a %}", "Unexpected end of template"),
        ("a\tb", "U+0009"),
        (" \n", "is empty"),
        ("a" * (MAX_SOURCE + 1), "shorten it"),
        ("{{ a }}" * MAX_NODES, "parts"),
        ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", "nested too deeply"),
        ("{% if a %}" * 150 + "x" + "{% endif %}" * 150, "nested too deeply"),
    ],
    ids=lambda each: each[:40],
)
def test_what_is_refused_when_it_is_read(text: str, words: str) -> None:
    with pytest.raises(UnusableError) as caught:
        TextTemplate({"en": "Hello", "de": text}, "en")
    assert caught.value.faults.keys() == {"de"}
    assert words in caught.value.faults["de"]
    assert len(caught.value.faults["de"]) < 400


def test_names_of_jinja_are_variables_like_any_other() -> None:
    assert faults(one("{{ cycler }}")) == [("vars.cycler", "missing_field")]
    assert said("{{ range }} {{ loop }} {{ lipsum }}", range="a", loop="b", lipsum="c") == "a b c"


LONG = "ab " * 2_700


@pytest.mark.parametrize(
    "text",
    [
        "{{ a }}" * 300,
        "{{ " + "~".join(["a"] * 400) + " }}",
        "{{ a | replace('a', a) }}",
        "{{ a | replace('', a) | replace('', a) }}",
        "{{ " + " + ".join(["a"] * 60) + " }}",
        *("{% if a | NAME == 'x' %}{% endif %}".replace("NAME", name) * 80
          for name in ALLOWED_FILTERS if name not in {"abs", "replace", "round"}),
        "{% if a is upper or a is lower or 'zz' in a %}{% endif %}" * 30,
    ],
    ids=lambda each: each[:40],
)  # fmt: skip
def test_no_template_works_for_long(text: str) -> None:
    template = one(text)
    began = time.process_time()
    found = template.render({"a": LONG}, None)
    assert time.process_time() - began < 0.1
    assert found == "" or not isinstance(found, str), "none of them gives a text"


def test_a_text_too_long_is_a_fault() -> None:
    assert said("{{ a }}" * 2, a="x" * (MAX_RENDERED // 2)) == "x" * MAX_RENDERED
    assert faults(one("{{ a }}" * 2 + "."), a="x" * (MAX_RENDERED // 2)) == [("template", "text_too_long")]


names = st.sampled_from(["a", "b", "c"])
atoms = names | st.sampled_from(["1", "2.5", "'x'", "''", "true", "['a', b]", "none", "10000000000000000000"])


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "==", "<", "in", "not in"])
    applied = st.sampled_from(
        [*ALLOWED_FILTERS, "replace('a', b)", "truncate(c)", "round(b)", "default(a)", "format(a)"]
    )
    asked = st.sampled_from([*ALLOWED_TESTS, "in(b)", "divisibleby(c)", "eq(1)"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("({} ~ {})".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} | {})".format, inner, applied),
        st.builds("({} is {})".format, inner, asked),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("-{}".format, inner),
    )


expressions = st.recursive(atoms, deeper, max_leaves=8)
texts = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.builds("{{{{ {} }}}}".format, expressions),
        st.builds("{{% if {} %}}{}{{% endif %}}".format, expressions, st.builds("{{{{ {} }}}}".format, expressions)),
    ),
    min_size=1,
    max_size=4,
).map("".join)
values = st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.just("a" * 8_000)


@settings(max_examples=200, deadline=None)
@given(texts, st.dictionaries(names, values), st.none() | st.text(max_size=8))
@example("{{ a }}", {"a": float("nan")}, None)
def test_whatever_is_written_reading_and_rendering_end_well(
    text: str, vars: dict[str, object], lang: str | None
) -> None:
    try:
        template = one(text)
    except UnusableError:
        return
    found = template.render(vars, lang)
    if isinstance(found, str):
        assert len(found) <= MAX_RENDERED
        assert template.needed <= vars.keys() <= template.needed | template.optional
    else:
        assert found
        assert all(isinstance(fault, Fault) for fault in found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_a_value_is_put_in_as_it_is(value: str) -> None:
    assert said("<{{ a }}>", a=value) == f"<{value}>"


# -- around it ---------------------------------------------------------------------------------------------------------


def test_the_order_of_values_does_not_matter_to_an_idempotency_key() -> None:
    def hashed(**vars: object) -> bytes:
        return wire.content_hash(wire.Submission(to="+14155550123", template="code", vars=dict(vars), lang="de"))

    assert hashed(a="1", b=2) == hashed(b=2, a="1")
    assert len({hashed(), hashed(a="1"), hashed(a=1), hashed(a="2"), hashed(a="1", b="")}) == 5


def test_a_daemon_without_templates_starts_without_jinja2() -> None:
    code = "import sys, smsd.daemon, smsd.cli.main; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"
