"""Is the daemon looked for where the arguments and the environment say, and is the token kept out of every text?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smsd.client import AsyncClient, Client, SmsdError, SubmissionInvalid
from tests.client.http_daemon import HttpFront
from tests.doubles.fake_daemon import FakeDaemon

URL = "http://127.0.0.1:7670"
SECRET = "tok-s3cr3t-0123456789"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
class TestWhere:
    def test_arguments_go_before_the_environment(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SMSD_SOCKET", "/run/a")
        assert kind().path == "/run/a"
        monkeypatch.setenv("SMSD_URL", URL + "/")
        assert kind().path == URL, "the URL goes before the socket"
        assert kind("/run/b").path == kind(Path("/run/b")).path == "/run/b"
        assert kind(url="https://sms.example.org/base/").path == "https://sms.example.org/base"
        monkeypatch.setenv("SMSD_URL", "")
        assert kind().path == "/run/a", "empty is not set"

    def test_a_contradiction_is_told(self, kind: Any) -> None:
        for arguments, field in (
            ({"socket": "/s", "url": URL}, "url"),
            ({"socket": "/s", "token": SECRET}, "token"),
            ({"token": SECRET}, "token"),
            ({"url": ""}, "url"),
        ):
            with pytest.raises(SubmissionInvalid) as caught:
                kind(**arguments)
            assert (caught.value.code, caught.value.field) == ("invalid_value", field)
            assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "/run/smsd/smsd.sock",
                "unix:///run/smsd/smsd.sock",
                "ftp://h",
                "http://",
                "127.0.0.1:7670",
                "http://h:x",
            ),
            *(
                "http://h:99999",
                "http://h:0",
                "http://h/?a=b",
                "http://h/#f",
                "http://h/a b",
                "http://h\n",
                "http://[::1",
            ),
            f"http://user:{SECRET}@h",
        ],
    )
    def test_what_is_no_address_is_refused_at_once(self, kind: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SubmissionInvalid) as caught:
            kind(url=url)
        assert caught.value.field == "url"
        monkeypatch.setenv("SMSD_URL", url)
        with pytest.raises(SubmissionInvalid, match="SMSD_URL") as caught:
            kind()
        assert SECRET not in str(caught.value) + repr(caught.value)

    def test_a_token_that_would_break_the_head_is_refused_without_being_shown(self, kind: Any) -> None:
        for token in (SECRET + "\r\nX: y", SECRET + " x", SECRET + "ü"):
            with pytest.raises(SubmissionInvalid) as caught:
                kind(url=URL, token=token)
            assert SECRET not in str(caught.value) + repr(caught.value.args)

    def test_the_token_is_in_no_text(self, kind: Any) -> None:
        client = kind(url=URL, token=SECRET)
        assert SECRET not in repr(client) + str(client) + repr(client._door) + client.path


class TestTheToken:
    def test_it_travels_in_the_head_alone(
        self, fake: FakeDaemon, front: HttpFront, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SMSD_TOKEN", SECRET)
        for token, expected in ((None, SECRET), ("other", "other"), ("", None)):
            with Client(url=front.url, token=token) as client:
                client.ping()
            method, path, head = front.heads[-1]
            assert head.get("Authorization") == (f"Bearer {expected}" if expected else None)
            assert (method, path) == ("GET", "/v1/ping")

    def test_it_is_in_no_error(self, fake: FakeDaemon, front: HttpFront) -> None:
        client = Client(url=front.url, token=SECRET, timeout=2)
        errors = []
        front.raw.append(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://x/?t=" + SECRET.encode() + b"\r\n\r\n"
        )
        for call in (client.ping, lambda: client.get("none")):
            with pytest.raises(SmsdError) as caught:
                call()
            errors.append(f"{caught.value} {caught.value!r} {caught.value.document()}")
        front.stop()
        with pytest.raises(SmsdError) as caught:
            client.ping()
        errors.append(f"{caught.value} {caught.value!r}")
        client.close()
        assert not [text for text in errors if SECRET in text]


def test_a_base_path_stands_before_every_route(fake: FakeDaemon) -> None:
    with HttpFront(fake, base="/sms/api") as front, Client(url=front.url + "/") as client:
        id = client.send("+15550100123", "Hello")["id"]
        assert client.get(id)["id"] == id
        assert [each["ok"] for each in client.send_many([{"to": "+15550100123", "text": "x"}])] == [True]
        assert {path.split("/v1")[0] for _, path, _ in front.heads} == {"/sms/api"}
