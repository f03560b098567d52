"""Who is told what became of an operation, and can one caller hold up the others?

Callers are told in order, many in slices so that the loop's other work has its turn in between. It refuses to know why
something failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from smsd.store.errors import StoreError
from smsd.store.operations import Operation

ANSWERS = 128
"""Callers told in one go, about 4 ms of work; then the loop's other work has its turn."""


def answer_all(operations: Sequence[Operation], error: StoreError | None) -> None:
    """Tell the callers, in order; on the event loop. A caller's own failure is reported to the loop and holds up no
    other."""
    for operation in operations:
        try:
            if error is None:
                operation.resolve()
            else:
                operation.fail(error)
        except Exception as failure:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a caller of the outbox failed when it was answered", "exception": failure}
            )


async def answer_in_slices(operations: Sequence[Operation]) -> None:
    """Tell the callers that it is done."""
    for start in range(0, len(operations), ANSWERS):
        if start:
            await asyncio.sleep(0)
        answer_all(operations[start : start + ANSWERS], None)


def chained(error: StoreError, cause: Exception) -> StoreError:
    """The error with its cause, for whoever reads a traceback."""
    error.__cause__ = cause
    return error
