"""How does the body of a request come in, and what can that cost?

Whole, of bounded size, within bounded time, and all that are arriving together within bounded memory. A body that came
with its head, as nearly all do, costs none of this. Batches read their bodies themselves (`batch`). What a body says is
known by `http_reading`.
"""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestPayloadError

from smsd.listeners.callers import ProblemError


class Bodies:
    """The bodies of one door. `most`: bytes of one; `together`: bytes of all that are arriving; `span_s`: from the head
    to the end of one; `remedy`: what to do instead of sending a longer one."""

    def __init__(
        self,
        most: int,
        together: int,
        span_s: float,
        remedy: str = "Send many messages to /v1/messages/batch.",
    ) -> None:
        self.most = most
        self._remedy = remedy
        self._together = together
        self._span_s = span_s
        self._arriving = 0

    async def read(self, request: web.Request) -> bytes:
        """The body. Raises ProblemError too_long, malformed or backlog_full, ConnectionError when the client is gone.

        A client that was refused need not stop sending: the connection ends after the answer.
        """
        if (request.content_length or 0) > self.most:
            raise self._too_long()
        content = request.content
        if content.is_eof():
            body: bytes = content.read_nowait()
            if len(body) > self.most:
                raise self._too_long()
            return body
        await invite(request)
        try:
            async with asyncio.timeout(self._span_s):
                return await self._gather(content)
        except TimeoutError:
            text = f"The body did not arrive within {self._span_s:g} s: send it in one go."
            raise ProblemError.of("malformed", text) from None
        except RequestPayloadError:
            raise ProblemError.of("malformed", "The body's framing is broken.") from None

    async def _gather(self, content: StreamReader) -> bytes:
        body = bytearray()
        try:
            while chunk := await content.readany():
                body += chunk
                self._arriving += len(chunk)
                if len(body) > self.most:
                    raise self._too_long()
                if self._arriving > self._together:
                    raise ProblemError.of("backlog_full", "Too many large requests are arriving. Repeat it later.")
            return bytes(body)
        finally:
            self._arriving -= len(body)

    def _too_long(self) -> ProblemError:
        text = f"A body is at most {self.most} bytes ([http] max_body). {self._remedy}"
        return ProblemError.of("too_long", text)


def check_json(request: web.Request) -> None:
    """Raises ProblemError unsupported_media_type unless the request says that it is JSON. A page of another site cannot
    say so without asking first (CORS); that is why it is needed without a body, too."""
    if request.headers.get("Content-Type") == "application/json":
        pass  # the usual spelling, not worth parsing
    elif request.content_type != "application/json" or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        text = "Send `Content-Type: application/json` (UTF-8), also without a body."
        raise ProblemError.of("unsupported_media_type", text)
    check_plain(request)


def check_plain(request: web.Request) -> None:
    """Raises ProblemError unsupported_media_type for a compressed body: a few bytes of one can become gigabytes."""
    if any(each.lower() != "identity" for each in request.headers.getall("Content-Encoding", ())):
        raise ProblemError.of("unsupported_media_type", "Send the body without `Content-Encoding`.")


async def invite(request: web.Request) -> None:
    """Tell a client to go on that waits to be told (`Expect: 100-continue`; RFC 9110, section 10.1.1). Other
    expectations are refused before (`framing`)."""
    if "Expect" in request.headers and not request.content.is_eof() and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # to aiohttp, an answer of which bytes are out cannot be replaced by a problem
