"""Whom does this go to, and as whom? And whose clock is it there?

Turns what a caller wrote into the one spelling everything else works with: E.164 for a recipient; E.164, a short code
or a name for a sender; and says in which time zones a number may be. It refuses to know whether a number is in use or
can take SMS: only impossible numbers are refused here, the carrier knows the rest.

The verdict on a recipient is that of the `phonenumbers` library (Google's libphonenumber metadata), which costs 30-50
microseconds a number. A number already in E.164 meets a table first: national lengths that are possible for its country
calling code, read from the same metadata once per code. The table only ever says yes, and only where the library would
say yes and change nothing; every other number goes to the library, so the two cannot disagree on a refusal. The library
is imported when the first number needs it, never when this module is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MAX_RAW = 64
"""Longest spelling of a number that is looked at, in characters."""

_CODES = 1_110
"""Calling codes that can be looked up: the strings of one to three digits."""

_NUMBERS = 8_192
"""Numbers whose zones are remembered: at most 2 MB."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NATIONAL = re.compile(r"[0-9]+")
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_NAME = re.compile(r"[A-Za-z0-9 ]{1,11}")
_PUNCTUATION = str.maketrans("", "", " -.()")
_DIGIT = re.compile(r"[0-9]")

EXAMPLE = "+14155550123"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an address is refused: one sentence with the remedy. It does not repeat the address."""

    message: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """A country calling code: where the national part begins, and when it needs no second look."""

    start: int
    lengths: frozenset[int]
    """Lengths of the whole number, `+` included, that the library calls possible."""
    prefix: Callable[[str, int], re.Match[str] | None] | None
    """Matches where the library may strip or rewrite a national prefix."""


_plans: dict[str, _Plan | None] = {}
"""By calling code; bounded by _CODES. None: no such code."""


def recipient(raw: str, region: str = "") -> str | Problem:
    """The E.164 form of what the caller wrote, or why there is none.

    `region` is the ISO 3166 code (`US`, `DE`) in which a number without `+` is read; empty: such numbers are refused.
    Spaces and `-.()` are removed; then only a leading `+` and ASCII digits may remain. Numbers that cannot exist in
    their country (`phonenumbers.is_possible_number`) are refused.
    """
    if _E164.fullmatch(raw) is not None and _surely_possible(raw):
        return raw
    if len(raw) > MAX_RAW:
        return Problem(f"is longer than {MAX_RAW} characters; write one number, e.g. {EXAMPLE}")
    number = raw.translate(_PUNCTUATION)
    if number.startswith("+"):
        if _E164.fullmatch(number) is None:
            return Problem(f"must be + and 7 to 15 digits that do not begin with 0, e.g. {EXAMPLE}")
        return number if _surely_possible(number) else _ask_library(number, None)
    if _NATIONAL.fullmatch(number) is None:
        return Problem(f"must hold only digits, a leading + and the separators space - . ( ), e.g. {EXAMPLE}")
    if not region:
        return Problem(
            f"has no country code and no default region is set; write it with +, e.g. {EXAMPLE}, "
            "or have [messages] default_region set"
        )
    return _ask_library(number, region.upper())


def sender(raw: str) -> str | Problem:
    """The one spelling of a sender: E.164, a short code of 3-8 digits, or a name of 1-11 letters, digits and spaces."""
    if raw.startswith("+"):
        number = raw.translate(_PUNCTUATION) if len(raw) <= MAX_RAW else raw
        if _E164.fullmatch(number) is not None:
            return number
    else:
        name = raw.strip(" ")
        if _NAME.fullmatch(name) is not None or _SHORT_CODE.fullmatch(name) is not None:
            return name
    return Problem(
        f"must be a number in E.164 (e.g. {EXAMPLE}), a short code of 3 to 8 digits, "
        "or a name of at most 11 letters, digits and spaces"
    )


def known_region(region: str) -> bool:
    """Whether numbers can be read as national ones of this ISO 3166 code."""
    from phonenumbers import SUPPORTED_REGIONS

    return region in SUPPORTED_REGIONS


def zones(number: str) -> tuple[str, ...]:
    """The IANA names of the time zones in which a number in E.164 may be; empty: nobody knows.

    A number that is bound to a place is in that place's zones; one that is not (in many countries a mobile one) may be
    in every zone of its country calling code. In North America a mobile number looks like any other, so there the area
    code alone decides. Source: libphonenumber's time zone data. The first call loads it (4 ms, 0.5 MB); a number of a
    country of one zone then costs a microsecond, of another 60 to 100 unless it was among the last _NUMBERS.
    """
    for end in (2, 3, 4):
        code = number[1:end]
        found = _zones_of_code(code)
        if found is not None:
            break
    else:
        return ()
    if len(found) == 1:
        return found[0]
    return _zones_of_prefix(number) if code == "1" else _zones_by_kind(number)


def mask(address: str) -> str:
    """An address as logs show it: `+1555*****67`. At least four digits are hidden.

    Names and codes of fewer than seven digits are shown as they are: they are public and name no person. Anything else
    keeps only its last two digits.
    """
    if _E164.fullmatch(address) is not None:
        shown = min(5, len(address) - 6)
        return f"{address[:shown]}{'*' * (len(address) - shown - 2)}{address[-2:]}"
    if len(_DIGIT.findall(address)) < 7:
        return address
    return _DIGIT.sub("*", address[:-2]) + address[-2:]


def _surely_possible(number: str) -> bool:
    """Whether the library would call this E.164 number possible and leave it as it is. False: ask the library."""
    for end in (2, 3, 4):
        code = number[1:end]
        plan = _plans[code] if code in _plans else _learn(code)
        if plan is not None:
            if len(number) not in plan.lengths:
                return False
            if plan.prefix is None:
                return True
            found = plan.prefix(number, plan.start)
            return found is None or found.end() == plan.start
    return False


def _learn(code: str) -> _Plan | None:
    """Read the plan of a calling code from the library's metadata and keep it."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, region_code_for_country_code

    plan = None
    if int(code) in COUNTRY_CODE_TO_REGION_CODE:
        region = region_code_for_country_code(int(code))
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        assert metadata is not None and metadata.general_desc is not None  # every code of the table has both
        national = {*metadata.general_desc.possible_length, *metadata.general_desc.possible_length_local_only}
        prefix = metadata.national_prefix_for_parsing
        start = 1 + len(code)
        lengths = frozenset(start + length for length in national)
        plan = _Plan(start, lengths, re.compile(prefix).match if prefix else None)
    _plans[code] = plan
    return plan


@lru_cache(maxsize=_CODES)
def _zones_of_code(code: str) -> tuple[tuple[str, ...], ...] | None:
    """The sets of zones of which each number of a country calling code has one; None: no such code."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
    from phonenumbers.tzdata import TIMEZONE_DATA

    if not code or int(code) not in COUNTRY_CODE_TO_REGION_CODE:
        return None
    found = {zones for prefix, zones in TIMEZONE_DATA.items() if prefix.startswith(code)}
    return tuple(found) or ((),)


def _zones_of_prefix(number: str) -> tuple[str, ...]:
    """The zones of the place to which a number's first digits belong; its country's if they belong to none."""
    from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

    for end in range(1 + TIMEZONE_LONGEST_PREFIX, 1, -1):
        found = TIMEZONE_DATA.get(number[1:end])
        if found is not None:
            return found
    return ()


@lru_cache(maxsize=_NUMBERS)
def _zones_by_kind(number: str) -> tuple[str, ...]:
    """The zones of a number of a country in which it depends on the number's kind whether its place is known."""
    from phonenumbers import NumberParseException, PhoneNumberType, number_type, parse
    from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

    try:
        parsed = parse(number)
    except NumberParseException:
        return ()
    if number_type(parsed) == PhoneNumberType.UNKNOWN:
        return _zones_of_prefix(number)  # nobody has such a number yet; its first digits say where it would be
    names = time_zones_for_number(parsed)
    return () if UNKNOWN_TIMEZONE in names else names


def _ask_library(number: str, region: str | None) -> str | Problem:
    """The library's verdict. `region` is None for a number with `+`: a region may then not reinterpret its digits."""
    import phonenumbers
    from phonenumbers import ValidationResult

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            return Problem(f"begins with no known country code; write country code and number, e.g. {EXAMPLE}")
        return Problem(f"is not a phone number; write country code and number, e.g. {EXAMPLE}")
    country = f"+{parsed.country_code}"
    match phonenumbers.is_possible_number_with_reason(parsed):
        case ValidationResult.TOO_SHORT:
            return Problem(f"has too few digits for a number in {country}; check it")
        case ValidationResult.TOO_LONG:
            return Problem(f"has too many digits for a number in {country}; check it")
        case ValidationResult.INVALID_LENGTH:
            return Problem(f"has a number of digits that no number in {country} has; check it")
        case ValidationResult.INVALID_COUNTRY_CODE:
            return Problem(f"begins with no known country code; write country code and number, e.g. {EXAMPLE}")
    normal: str = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    if _E164.fullmatch(normal) is None:
        return Problem(f"must be + and 7 to 15 digits that do not begin with 0, e.g. {EXAMPLE}")
    return normal
