"""Can an adapter's section state every kind of field, and is each judged, shown and kept secret as it should be?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

import pytest

from smsd.config.own import adapter_of, own_fields, shown
from smsd.config.sources import Secret, Sources
from smsd.config.tables import Report, Table
from smsd.core.account import ProviderRules
from smsd.providers import TYPES
from smsd.providers.base import SettingsError
from smsd.providers.console import Console


@dataclass(frozen=True, slots=True)
class Dialect(Console):
    """A dialect with a field of each kind."""

    url: str = ""
    token: str | None = field(default=None, metadata={"secret": True}, repr=False)
    form: bool = False
    page: int = 50
    words: tuple[str, ...] = ()
    signing: str | tuple[str, ...] | None = field(default=None, metadata={"secret": True}, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict, metadata={"secret": True}, repr=False)
    patience: int = field(default=0, metadata={"unit": "duration"})
    errors: object = field(default=None, metadata={"raw": True})

    type: ClassVar[str] = "dialect"

    def __post_init__(self) -> None:
        if isinstance(self.errors, dict) and "boom" in self.errors:
            raise ValueError("errors.boom: is no error; remove it")
        if self.page < 0:
            raise ValueError("a page is never negative: write more")
        if self.page > 1_000 and self.form:
            raise SettingsError(
                ("page", "is too much; write less"),
                ("errors.401.0", "goes with no form"),
                ("pages", "is no key of this dialect"),
                ("", "takes a page or a form"),
            )


@dataclass(frozen=True, slots=True)
class Strange(Console):
    """A dialect with a field that no configuration can state."""

    words: frozenset[str] = frozenset()


VALUES: dict[str, object] = {
    "url": "https://sms.example.com",
    "token": {"env": "TOKEN"},
    "form": True,
    "page": 0,
    "words": ["a", "b"],
    "signing": [{"env": "TOKEN"}, "before"],
    "headers": {"X-From": "shop", "X-Key": {"env": "TOKEN"}},
    "keys": {"one": "literal"},
    "patience": "1m",
    "errors": {"401": [{"category": "AUTH_FAILED", "after": 1.5}], "on": False},
}


def read(values: Mapping[str, object], adapter: type = Dialect) -> tuple[object, Report]:
    report = Report(Sources({"TOKEN": "s3cret"}, Path("/")))
    return adapter_of(Table(values, report, "providers.x"), "x", adapter), report


def test_every_kind_is_read() -> None:
    found, report = read(VALUES)
    assert report.faults == []
    assert found == Dialect(
        "x",
        "https://sms.example.com",
        "s3cret",
        form=True,
        page=0,
        words=("a", "b"),
        signing=("s3cret", "before"),
        headers={"X-From": "shop", "X-Key": "s3cret"},
        keys={"one": "literal"},
        patience=60_000,
        errors={"401": [{"category": "AUTH_FAILED", "after": 1.5}], "on": False},
    )
    assert report.literal_secrets == ["providers.x.signing.2", "providers.x.keys.one"]


def test_one_of_several_stands_alone() -> None:
    for one in ("a", ["a"]):
        found, report = read({"signing": one})
        assert (report.faults, found) == ([], Dialect("x", signing="a"))
        assert isinstance(found, Dialect)
        assert {own.name: shown(found, own) for own in own_fields(Dialect)}["signing"] == Secret("a")


def test_what_is_not_set_is_the_default() -> None:
    assert read({})[0] == read({"url": ""})[0] == Dialect("x")


@pytest.mark.parametrize(
    ("key", "value", "path", "message"),
    [
        ("form", 1, "form", "must be true or false"),
        ("page", True, "page", "must be a whole number"),
        ("page", -1, "", "a page is never negative: write more"),
        ("words", [1], "words", "must be a text or a list of texts"),
        ("headers", "x", "headers", "must be a table"),
        ("headers", {"X": 1}, "headers.X", "must be a text in quotes or a reference"),
        ("headers", {"X": {"env": "NOT_SET"}}, "headers.X", "NOT_SET is not set"),
        ("keys", {"a": ""}, "keys.a", "is empty"),
        ("signing", 1, "signing", "must be a text in quotes or a reference"),
        ("signing", ["a", {"env": "NOT_SET"}], "signing.2", "NOT_SET is not set"),
        ("signing", ["a", "a"], "signing", "holds a secret twice"),
        ("url", " ", "url", "is empty"),
        ("token", "", "token", "is empty"),
        ("patience", 1, "patience", "must be a duration"),
        ("errors", {"a": [float("nan")]}, "errors", "a number that is none"),
        ("errors", {"boom": 1}, "errors.boom", "is no error; remove it"),
    ],
)
def test_what_is_wrong_is_told_by_its_key(key: str, value: object, path: str, message: str) -> None:
    found, report = read({key: value})
    (fault,) = report.faults
    assert found is None
    assert fault.path == f"providers.x.{path}".rstrip(".")
    assert message in fault.message


def test_all_that_a_dialect_finds_wrong_is_told_each_by_its_key() -> None:
    found, report = read({"form": True, "page": 1_001})
    assert found is None
    assert [(fault.path, fault.message) for fault in report.faults] == [
        ("providers.x.page", "is too much; write less"),
        ("providers.x.errors.401.0", "goes with no form"),
        ("providers.x", "pages: is no key of this dialect"),
        ("providers.x", "takes a page or a form"),
    ]


def test_a_field_that_cannot_be_stated_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError, match="words is of a kind that no configuration can state"):
        read({"words": ["a"]}, Strange)


def test_secrets_are_not_shown() -> None:
    found, _ = read(VALUES)
    assert isinstance(found, Dialect)
    said = {own.name: shown(found, own) for own in own_fields(Dialect)}
    assert said == {
        **VALUES,
        "words": ("a", "b"),
        "signing": [Secret("s3cret"), Secret("before")],
        "token": Secret("s3cret"),
        "headers": {"X-From": "shop", "X-Key": "s3cret"},
        "keys": {"one": Secret("literal")},
    }
    assert "s3cret" not in repr(said["token"])


def test_no_adapter_takes_a_key_that_every_provider_has() -> None:
    common = {each.name.removesuffix("_ms") for each in fields(ProviderRules)} - {"pace", "profile", "senders"}
    common |= {"type", "enabled", "from", "rate", "unit", "burst", "min_gap", "price", "retry", "answer_words"}
    for name, adapter in TYPES.items():
        assert not common & {own.name for own in own_fields(adapter)}, name
