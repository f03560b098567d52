"""How does a text with blanks become the text of one message?

`[templates.NAME]` is one text in one or more languages, written in Jinja2. All that can be wrong with the text itself
is found when it is made (UnusableError); what is wrong with the values for its blanks is said as faults of the
submission. `render` never raises and never works for long: what a template may say (`language`) sees to it.

It refuses to know what may be sent (`core.content` judges what comes out) and where templates come from. Importing it
takes a tenth of a second, nearly all of it Jinja2, so `config` imports it only when the file has a template, and nobody
else does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import jinja2

from smsd.core.content import shown_var
from smsd.core.submission import Fault
from smsd.templates.language import MAX_RENDERED, Reading

MAX_NAMED: Final = 8
"""Variables named in one answer, missing and unknown ones each."""


class UnusableError(ValueError):
    """Texts that are no template. `faults`: language -> what is wrong and what to do."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """One text in its languages. Raises UnusableError for what cannot be used; `default` must be one of `texts`."""

    texts: Mapping[str, str] = field(repr=False)
    """Language tag -> text. Of a template of one text the tag is empty."""
    default: str = ""
    """The language of callers who ask for none, or for one that is not there."""
    needed: frozenset[str] = field(init=False, compare=False)
    """Variables without which it cannot be filled in, in whichever language."""
    optional: frozenset[str] = field(init=False, compare=False)
    _compiled: Mapping[str, jinja2.Template] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults: dict[str, str] = {}
        compiled: dict[str, jinja2.Template] = {}
        needed: set[str] = set()
        used: set[str] = set()
        for language, text in self.texts.items():
            try:
                reading = Reading(text)
            except ValueError as error:
                faults[language] = str(error)
                continue
            compiled[language.lower()] = reading.template
            needed |= reading.needed
            used |= reading.used
        if faults:
            raise UnusableError(faults)
        object.__setattr__(self, "needed", frozenset(needed))
        object.__setattr__(self, "optional", frozenset(used - needed))
        object.__setattr__(self, "_compiled", compiled)

    def render(self, vars: Mapping[str, object], lang: str | None) -> str | tuple[Fault, ...]:
        """The text with its blanks filled in, in the language nearest to `lang`; or what is wrong with `vars`."""
        faults = (*self._missing(vars), *self._unknown(vars))
        if faults:
            return faults
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._nearest(lang or "").generate(vars):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_RENDERED:
                    return (_too_long(),)
        # What a value does inside an operator's expression cannot be listed; whatever it is, the caller is told.
        except Exception as error:
            return (_unfit(error),)
        return "".join(pieces)

    def _nearest(self, lang: str) -> jinja2.Template:
        """By RFC 4647, section 3.4: the tag, then what is left as its ends are taken off, then the default."""
        tag = lang.lower()
        while tag and tag not in self._compiled:
            tag = tag.rpartition("-")[0]
        return self._compiled[tag or self.default.lower()]

    def _missing(self, vars: Mapping[str, object]) -> Iterator[Fault]:
        for name in sorted(self.needed - vars.keys())[:MAX_NAMED]:
            message = f"`vars.{name}` is missing: the template needs it"
            yield Fault(f"vars.{name}", "missing_field", message, circumstantial=True)

    def _unknown(self, vars: Mapping[str, object]) -> Iterator[Fault]:
        for name in sorted(vars.keys() - self.needed - self.optional)[:MAX_NAMED]:
            place = shown_var(name)
            message = f"`{place}` is not a variable of the template: remove it"
            yield Fault(place, "unknown_field", message, circumstantial=True)


def _too_long() -> Fault:
    message = f"`template` gives a text of more than {MAX_RENDERED} characters: shorten what is in `vars`"
    return Fault("template", "text_too_long", message, circumstantial=True)


def _unfit(error: Exception) -> Fault:
    """The error's own words may hold a value, so only its kind is told."""
    message = (
        f"`vars` cannot be put into the template ({type(error).__name__}): "
        "give numbers where it calculates and texts where it writes"
    )
    return Fault("vars", "invalid_value", message, circumstantial=True)
