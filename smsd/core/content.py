"""Which text is sent, and how long is it?

A submission gives its text, or a template and what goes into it. Either way the text itself is judged here: that it can
be sent, that it keeps the operator's bounds or is cut to them, how many segments it takes. How a template is filled in
is not known (the operator's templates come in behind `submission.Template`), nor what else a submission says. A fault
never repeats the text or a value for a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from smsd.core.message import Encoding
from smsd.core.segments import Measure, fits, measure, plain, truncate
from smsd.core.submission import Fault, MessageRules, Submission, one_of

MAX_VARS = 8_192
"""Bytes of `vars` as JSON without spaces, non-ASCII as UTF-8."""

MAX_NUMBER = 1 << 53
"""Numbers beyond it are not the same in every program that reads JSON (RFC 8259, section 6)."""

MAX_LANG = 35
"""Characters of a language tag (RFC 5646, section 4.4.1)."""

MAX_NAMED = 8
"""Values named in one answer."""

FORBIDDEN = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters (C0, DEL, C1) but LF and CR, and lone surrogates, which no encoding can carry."""

_LANG = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_ESCAPED = re.compile('["\\\\\b\t\n\f\r]')
_ESCAPED_LONG = re.compile("[\x00-\x07\x0b\x0e-\x1f]")

_OVERFLOWS = ("reject", "truncate")
_NOTHING = Measure(Encoding.GSM7, 0, 1)

Content = tuple[str, Measure, bool]
"""The text as it will be sent, its size, and whether it was cut."""


def content_of(submission: Submission, rules: MessageRules, faults: list[Fault]) -> Content:
    """What is sent; after a fault of its own an empty text."""
    overflow = submission.overflow
    if overflow is None:
        overflow = rules.overflow
    elif overflow not in _OVERFLOWS:
        faults.append(one_of("overflow", overflow, _OVERFLOWS))
    text, templated = submission.text, submission.template is not None
    if text is None or templated or submission.vars is not None or submission.lang is not None:
        text = _filled_in(submission, rules, faults)
        if text is None:
            return "", _NOTHING, False
    size = measure(text)
    fault = _unsendable(text, size, templated)
    if fault is None and rules.smart_encoding and size.encoding is Encoding.UCS2:
        text = plain(text)
        size = measure(text)
        fault = _unsendable(text, size, templated)
    if fault is not None:
        faults.append(fault)
        return "", size, False
    cut = overflow == "truncate"
    if not (cut and rules.truncate_chars) and fits(size, rules.max_chars, rules.max_segments):
        return text, size, False
    short = _shortened(text, size, rules) if cut else ""
    if short:
        return short, measure(short), short != text
    faults.append(_too_long(size, rules, templated))
    return "", size, False


def _unsendable(text: str, size: Measure, templated: bool) -> Fault | None:
    """What no carrier could send: nothing visible, control characters, half a surrogate pair."""
    if not text or text.isspace():
        return _fault("invalid_value", templated, "is empty: give at least one visible character")
    if size.encoding is Encoding.GSM7 and "\f" not in text:
        return None  # of all that is forbidden, the GSM alphabet holds only the form feed
    found = FORBIDDEN.search(text)
    if found is None:
        return None
    which = f"U+{ord(found[0]):04X} at position {found.start()}"
    return _fault("invalid_value", templated, f"holds {which}: of control characters only LF and CR may be sent")


def _shortened(text: str, size: Measure, rules: MessageRules) -> str:
    """A text too long is cut to `truncate_chars`. A greater `max_chars` beside it stays what it is without: the length
    from which a text is refused; else the two could not both mean something. The empty text: it is refused."""
    target, most = rules.truncate_chars, rules.max_chars
    if 0 < target < most < size.length:
        return ""
    return truncate(text, min(filter(None, (target, most)), default=0), rules.max_segments)


def _too_long(size: Measure, rules: MessageRules, templated: bool) -> Fault:
    unit = "septets" if size.encoding is Encoding.GSM7 else "UTF-16 units"
    allowed = [f"{rules.max_segments} segments"] if rules.max_segments else []
    allowed += [f"{rules.max_chars} {unit}"] if rules.max_chars else []
    message = (
        f"is {size.length} {unit} long ({size.encoding.label}) and needs {size.segments} segments; "
        f"at most {' and '.join(allowed)} are allowed: shorten {'what is in `vars`' if templated else 'it'}"
    )
    return _fault("text_too_long", templated, message, circumstantial=True)


def _fault(code: str, templated: bool, message: str, *, circumstantial: bool = False) -> Fault:
    """Of the text that was given, or of the one the template gave: that may be another one tomorrow."""
    if templated:
        return Fault("template", code, f"`template` gives a text that {message}", circumstantial=True)
    return Fault("text", code, f"`text` {message}", circumstantial)


# -- templates --------------------------------------------------------------------------------------------------------


def _filled_in(submission: Submission, rules: MessageRules, faults: list[Fault]) -> str | None:
    """What the template says with what is given for it; None after a fault that leaves no text to judge."""
    text, name, lang = submission.text, submission.template, submission.lang
    before = len(faults)
    if lang is not None and not (len(lang) <= MAX_LANG and _LANG.fullmatch(lang)):
        faults.append(Fault("lang", "invalid_value", '`lang` must be a language tag such as "de" or "pt-BR"'))
        lang = None
    vars = {} if submission.vars is None else submission.vars
    odd = _wrong_vars(vars)
    faults.extend(odd)
    if name is None:
        for field, value in (("vars", submission.vars), ("lang", submission.lang)):
            if value is not None:
                message = f"`{field}` is for a template only: name one in `template`, or leave `{field}` out"
                faults.append(Fault(field, "invalid_value", message))
        if text is None:
            message = "`text` is missing: give what is to be sent, or a `template`"
            faults.append(Fault("text", "missing_field", message))
        return text
    if text is not None:
        faults.append(Fault("template", "invalid_value", "`template` and `text` exclude each other: give one"))
    template = rules.templates.get(name)
    if template is None:
        message = "`template` must name a template of the configuration: ask the operator of smsd for those there are"
        faults.append(Fault("template", "invalid_value", message, circumstantial=True))
    if template is None or odd:
        return None
    found = template.render(vars, lang)
    if isinstance(found, str):
        return found if len(faults) == before else None
    faults.extend(found)
    return None


def _wrong_vars(vars: Mapping[str, object]) -> list[Fault]:
    """What no template could take: values that are no single ones, numbers and objects too large."""
    faults: list[Fault] = []
    size = 1
    for name, value in vars.items():
        size += json_size(name) + 2
        if isinstance(value, str):
            size += json_size(value)
            continue
        wrong = _wrong_value(value)
        size += 0 if wrong else len(repr(value))
        if wrong and len(faults) < MAX_NAMED:
            place = shown_var(name)
            faults.append(Fault(place, "invalid_value", f"`{place}` {wrong}"))
    if size > MAX_VARS:
        message = f"`vars` is {size} bytes of JSON; at most {MAX_VARS} are taken: shorten it"
        faults.append(Fault("vars", "invalid_value", message))
    return faults


def _wrong_value(value: object) -> str:
    if not isinstance(value, int | float):
        return "must be a string, a number, true or false"
    return "" if abs(value) <= MAX_NUMBER else "is a larger number than every program reads alike: give it as a string"


def shown_var(name: str) -> str:
    """The place of a value in a fault: `vars.NAME`, or `vars` where the caller's name for it is better not repeated."""
    return f"vars.{name}" if 0 < len(name) <= 64 and name.isprintable() else "vars"


def json_size(text: str) -> int:
    """Bytes of a string in JSON, quotes included, non-ASCII characters unescaped."""
    escapes = len(_ESCAPED.findall(text)) + 5 * len(_ESCAPED_LONG.findall(text))
    return 2 + len(text.encode("utf-8", "surrogatepass")) + escapes
