"""Which texts with blanks are there, as the file says it: `[templates.NAME]`?

`text`, or `texts` by language with `default`. Languages are told apart here; whether a text is a template is judged by
`smsd.templates`, which brings Jinja2 with it and is therefore imported only when the file has a template: a daemon
without templates starts without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smsd.config.tables import Table
from smsd.core.submission import Template

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,7}")
"""A language tag (BCP 47), as far as it can be told without the registry of languages."""


def templates(table: Table) -> Mapping[str, Template]:
    """`[templates.NAME]`, by name."""
    found: dict[str, Template] = {}
    for name, section in table.tables():
        if not NAME.fullmatch(name):
            table.fault(name, "is not a name; use at most 64 of A-Z a-z 0-9 - _ . beginning with a letter or digit")
        made = _template(section)
        section.done()
        if made is not None:
            found[name] = made
    return MappingProxyType(found)


def _template(table: Table) -> Template | None:
    """None after a fault."""
    from smsd.templates import TextTemplate, UnusableError

    before = len(table.report.faults)
    texts, default = _texts(table)
    if len(table.report.faults) > before:
        return None
    try:
        return TextTemplate(MappingProxyType(texts), default)
    except UnusableError as error:
        spoken = table.table("texts")
        for language, message in error.faults.items():
            if language:
                spoken.fault(language, message)
            else:
                table.fault("text", message)
        return None


def _texts(table: Table) -> tuple[dict[str, str], str]:
    """Text by language, and the language of those who ask for none; a single text has no language."""
    default = table.text("default", "")
    if table.has("text") or not table.has("texts"):
        text = table.raw("text")
        table.ask("texts")
        if not table.has("text"):
            table.fault("text", 'missing; write the text, or one for each language: texts = {en = "...", de = "..."}')
        elif not isinstance(text, str):
            table.fault("text", "must be a text in quotes")
        if table.has("text") and table.has("texts"):
            table.fault("text", "stands beside texts; remove one of them")
        elif default:
            table.fault("default", "names a language, and there is one text for all; remove it")
        return {"": text if isinstance(text, str) else ""}, ""
    table.ask("text")
    texts = _spoken(table.table("texts"))
    if not texts and table.raw("texts") == {}:
        table.fault("texts", 'holds no text; write one for each language: {en = "...", de = "..."}')
    return texts, _default(table, default, texts)


def _spoken(table: Table) -> dict[str, str]:
    found: dict[str, str] = {}
    for language in table.names():
        text = table.raw(language)
        if not LANGUAGE.fullmatch(language):
            table.fault(language, 'is not a language tag; write one such as de, "pt-BR" or "zh-Hant"')
        elif language.lower() in map(str.lower, found):
            table.fault(language, "stands here twice, in capitals and in small letters; remove one")
        elif not isinstance(text, str):
            table.fault(language, "must be a text in quotes")
        # Kept in any case: what else is wrong with the others is judged against all that was written.
        found[language] = text if isinstance(text, str) else ""
    return found


def _default(table: Table, asked: str, texts: Mapping[str, str]) -> str:
    """The language as `texts` spells it."""
    known = ", ".join(texts)
    if not asked:
        if len(texts) > 1:
            table.fault("default", f"missing; write which of {known} is for callers whose language is not there")
        return next(iter(texts), "")
    for language in texts:
        if language.lower() == asked.lower():
            return language
    table.fault("default", f"has no text; write one of {known}, or add its text")
    return asked


def shown_template(template: Template) -> Mapping[str, object]:
    """The section as the file would say it."""
    from smsd.templates import TextTemplate

    if not isinstance(template, TextTemplate):
        raise TypeError(f"no keys are known of {type(template).__name__}")
    if not template.default:
        return {"text": template.texts[""]}
    return {"texts": template.texts, "default": template.default}
