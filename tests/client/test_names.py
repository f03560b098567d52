"""Can a program import every promised name, and does it pay only for what it uses?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from smsd import client
from tests.doubles.fake_daemon import FakeDaemon


def test_every_promised_name_is_there() -> None:
    for name in client.__all__:
        assert getattr(client, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        client.nonsense  # type: ignore[attr-defined]  # noqa: B018 - asking for it is the test


def test_asyncio_is_imported_with_the_client_that_needs_it() -> None:
    code = (
        "import sys\n"
        "from smsd.client import Client, QueueUnavailable\n"
        "try: [*Client('/none').send_many([])]; Client('/none').ping()\n"
        "except QueueUnavailable: print('asyncio' in sys.modules)\n"
        "from smsd.client import AsyncClient\n"
        "print('asyncio' in sys.modules, AsyncClient.__name__)\n"
        "print('http.client' in sys.modules)\n"
    )
    assert _run(code) == ["False", "True", "AsyncClient", "False"]


DEAR = ("asyncio", "ssl", "http.client", "urllib.request", "concurrent.futures", "dataclasses", "inspect", "email")


def test_the_socket_does_not_pay_for_http(fake: FakeDaemon) -> None:
    code = (
        "import sys\n"
        "from smsd.client import Client\n"
        f"with Client({str(fake.path)!r}) as client: client.send('+15550100123', 'Hello')\n"
        f"print([name for name in {DEAR!r} if name in sys.modules])\n"
        "Client(url='http://127.0.0.1:1')\n"
        "print('http.client' in sys.modules)\n"
    )
    assert _run(code) == ["[]", "True"]


def test_smsd_send_does_not_pay_for_http(fake: FakeDaemon) -> None:
    code = (
        "import sys\n"
        "from smsd.cli.main import main\n"
        f"sys.argv = ['smsd', 'send', '--socket', {str(fake.path)!r}, '+15550100123', 'Hello']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print([name for name in ('asyncio', 'ssl', 'http.client', 'rich') if name in sys.modules])\n"
    )
    assert _run(code)[1:] == ["0", "[]"]


def _run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.split()
