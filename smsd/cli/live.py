"""How is an answer shown again and again?

`--watch` of stats, queue and providers: asks at a pace the user sets, refreshes in place on a terminal, prints block
after block in a pipe and document after document as JSON. A daemon that goes away after the first answer is waited for:
whoever watches a restart wants to see its end. Ctrl-C is the way to end it and therefore no failure: exit code 0.

It asks at a pace because counts have no event of their own; `smsd watch` shows events as they happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import click

from smsd.cli.frame import Out, complain, on_terminal, spans
from smsd.cli.render import Page
from smsd.client import Document, QueueUnavailable

T = TypeVar("T")

EVERY: Final = "2s"

WATCH: Final = click.option(
    "--watch",
    "every",
    callback=spans(0.1, 3_600),
    is_flag=False,
    flag_value=EVERY,
    metavar="[SPAN]",
    help=f"Show it again every {EVERY}, or as said (--watch=10s). Ctrl-C ends it.",
)


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """One question to the daemon and the two forms of its answer.

    `note`: what is to be said beside it, on standard error, so that no program takes it for the answer.
    """

    ask: Callable[[], T]
    documents: Callable[[T], Iterable[Document]]
    page: Callable[[T], Page]
    note: Callable[[T], str | None] = lambda _: None

    def show(self, out: Out, answer: T) -> None:
        """Print it once."""
        if out.json:
            for document in self.documents(answer):
                out.document(document)
        else:
            self.page(answer).print()
        note = self.note(answer)
        if note is not None:
            complain([note], "")

    def noted(self, answer: T) -> Page:
        """The page with the note on it, where nothing else can be written."""
        page = self.page(answer)
        note = self.note(answer)
        if note is not None:
            page.line(note)
        return page


def present(view: View[T], out: Out, every: float | None) -> None:
    """Show the answer, and go on every so many seconds until Ctrl-C. Raises SmsdError when the first question fails."""
    if every is None:
        view.show(out, view.ask())
        return
    try:
        answer = view.ask()
        if on_terminal() and not out.json:
            _in_place(view, answer, every)
        else:
            _repeated(view, out, answer, every)
    except KeyboardInterrupt:
        return


def _in_place(view: View[T], answer: T, every: float) -> None:
    from rich.live import Live

    with Live(view.noted(answer).drawn(), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                answer = view.ask()
                page = view.noted(answer)
            except QueueUnavailable as error:
                page = view.noted(answer)
                page.line(f"{_now()}  {error.message} The figures are old; trying again.")
            live.update(page.drawn(), refresh=True)


def _repeated(view: View[T], out: Out, answer: T, every: float) -> None:
    while True:
        if not out.json:
            out.line(f"# {_now()}")
        view.show(out, answer)
        while True:
            time.sleep(every)
            try:
                answer = view.ask()
                break
            except QueueUnavailable as error:
                out.problem(error)


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
