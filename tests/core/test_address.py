"""Recipients and senders: one spelling, the library's verdict, nothing readable in a log."""

from __future__ import annotations

import random
import subprocess
import sys

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core import address
from smsd.core.address import Problem, known_region, mask, recipient, sender

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@pytest.mark.parametrize(
    ("raw", "region", "number"),
    [
        ("+14155550123", "", "+14155550123"),
        ("+1 (415) 555-0123", "", "+14155550123"),
        ("+1.415.555.0123", "", "+14155550123"),
        ("(415) 555-0123", "US", "+14155550123"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("020 7946 0958", "gb", "+442079460958"),
        ("0044 20 7946 0958", "DE", "+442079460958"),
        ("+44 (0)7911 123456", "", "+447911123456"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("+39 06 1234 5678", "", "+390612345678"),
        ("+15005550006", "", "+15005550006"),
        ("+80012345678", "", "+80012345678"),
    ],
)
def test_numbers_that_are_read(raw: str, region: str, number: str) -> None:
    assert recipient(raw, region) == number


@pytest.mark.parametrize(
    ("raw", "region", "says"),
    [
        ("", "", "only digits"),
        ("hello", "US", "only digits"),
        ("+1555", "", "7 to 15 digits"),
        ("+0123456789", "", "do not begin with 0"),
        ("+1234567890123456", "", "7 to 15 digits"),
        ("+14155550123\n", "", "7 to 15 digits"),
        ("+1415555٠١٢٣", "", "7 to 15 digits"),
        ("٠٢٠٧٩٤٦٠٩٥٨", "GB", "only digits"),
        ("tel:+14155550123", "US", "only digits"),
        ("+14155550123 ext. 4", "", "7 to 15 digits"),
        ("4155550123x4", "US", "only digits"),
        ("41+55550123", "US", "only digits"),
        ("++14155550123", "", "7 to 15 digits"),
        ("2025550199", "", "default region"),
        ("+99912345678", "", "no known country code"),
        ("+9904155550123", "FI", "no known country code"),
        ("+141555501234", "", "too many digits"),
        ("+1415555012", "", "too few digits"),
        ("12", "US", "too few digits"),
        ("1", "US", "not a phone number"),
        ("1" * 40, "US", "not a phone number"),
        ("1" * 65, "US", "longer than 64"),
        ("+4930123456789012", "", "7 to 15 digits"),
    ],
)
def test_numbers_that_are_refused_say_why_and_do_not_repeat_themselves(raw: str, region: str, says: str) -> None:
    found = recipient(raw, region)
    assert isinstance(found, Problem)
    assert says in found.message
    assert len(raw) < 3 or raw not in found.message


def library(number: str) -> str | None:
    """The verdict on an E.164 number by the library alone, and E.164's own lower bound on what it makes of it."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return number if len(number) > 7 else None


def agrees(number: str) -> None:
    found = recipient(number)
    expected = library(number)
    assert (found if isinstance(found, str) else None) == expected, number


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CODES), st.integers(2, 13), st.data())
def test_the_fast_path_agrees_with_the_library(code: int, length: int, data: st.DataObject) -> None:
    total = len(str(code)) + length
    if 7 <= total <= 15:
        agrees(f"+{code}{data.draw(st.text('0123456789', min_size=length, max_size=length))}")


def test_the_fast_path_agrees_with_the_library_in_every_country() -> None:
    dice = random.Random(1)
    for code in CODES:
        region = phonenumbers.region_code_for_country_code(code)
        prefixes = {"", "0", "1", "8", "9", "15", "044", "06", "00"}
        metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        assert metadata is not None
        if metadata.national_prefix:
            prefixes.add(metadata.national_prefix)
        for length in range(max(2, 7 - len(str(code))), 16 - len(str(code))):
            for prefix in prefixes:
                rest = "".join(dice.choices("0123456789", k=max(0, length - len(prefix))))
                agrees(f"+{code}{(prefix + rest)[:length]}")


def test_the_fast_path_agrees_with_the_library_on_numbers_that_exist() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert recipient(number) == number
            national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)
            agrees(number)
            if set(national) <= set("0123456789 -.()"):
                assert recipient(national, region) == number


def test_an_ordinary_number_does_not_need_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(number: str, region: str | None) -> Problem:
        raise AssertionError(number)

    monkeypatch.setattr(address, "_ask_library", asked)
    for number in (
        "+14155550123",
        "+447911123456",
        "+4915112345678",
        "+33612345678",
        "+5511961234567",
        "+819012345678",
    ):
        assert recipient(number) == number


def test_the_library_is_not_imported_with_the_module() -> None:

    code = "import smsd.core.address, sys; sys.exit('phonenumbers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("raw", "one"),
    [
        ("+1 500-555-0006", "+15005550006"),
        ("12345", "12345"),
        ("123", "123"),
        ("ACME Shop 1", "ACME Shop 1"),
        (" ACME ", "ACME"),
        ("A", "A"),
    ],
)
def test_senders_that_are_read(raw: str, one: str) -> None:
    assert sender(raw) == one


@pytest.mark.parametrize("raw", ["", "   ", "ACME Shop 12", "ACMÉ", "A-B", "+12", "+abc", "+" + "1" * 70, "A\n", "A_B"])
def test_senders_that_are_refused(raw: str) -> None:
    found = sender(raw)
    assert isinstance(found, Problem)
    assert "short code" in found.message


@pytest.mark.parametrize(
    ("plain", "masked"),
    [
        ("+15551234567", "+1555*****67"),
        ("+1234567", "+1****67"),
        ("+123456789012345", "+1234*********45"),
        ("12345", "12345"),
        ("ACME", "ACME"),
        ("(415) 555-0123", "(***) ***-**23"),
        ("", ""),
    ],
)
def test_masks(plain: str, masked: str) -> None:
    assert mask(plain) == masked


@settings(max_examples=200, deadline=None)
@given(st.integers(10**6, 10**15 - 1))
def test_a_mask_hides_at_least_four_digits(digits: int) -> None:
    number = f"+{digits}"
    masked = mask(number)
    assert len(masked) == len(number)
    assert masked.count("*") >= 4


def test_regions() -> None:
    assert known_region("US")
    assert not known_region("us")
    assert not known_region("XX")
