"""Can a program import every promised name, and does it pay only for what it uses?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from smsd import client


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
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["False", "True", "AsyncClient"]
