"""What may a template say?

Jinja2's language without what a text message has no use for: text, `{{ ... }}` and `{% if ... %}`, with filters and
tests of a short list. Loops, assignments, calls and parts of values are refused when a text is read; arithmetic,
filters and the number of its parts are bounded, so that the worst of them is filled in within some hundredths of a
second whatever its values are; a usual one takes 10 µs. Jinja2's sandbox stands behind that, as a second wall.
What a text needs is read from its tree: a variable is optional where every use of it stands behind `is defined` or
`default`.

It knows no languages of people, no submissions and no configuration: what is wrong is said as a ValueError.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, cast

import jinja2
from jinja2 import nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from smsd.core.content import FORBIDDEN, MAX_NUMBER

MAX_SOURCE: Final = 10_000
"""Characters of a template; twice what a text of 30 segments has."""

MAX_NODES: Final = 500
"""Parts of a template: each may be a filter that goes through a long value."""

MAX_TITLE: Final = 500
"""Characters."""

MAX_RENDERED: Final = 20_000
"""Characters a template, or a calculation in it, may give; a text of 255 segments in UCS-2 has fewer."""


def _replace(value: object, old: str, new: str) -> str:
    """Every `old` in the text becomes `new`."""
    text = str(value)
    if len(text) + text.count(old) * max(0, len(new) - len(old)) > MAX_RENDERED:
        raise OverflowError
    return text.replace(old, new)


def _round(value: float, precision: int = 0) -> float:
    """As Jinja2's, to 9 digits at most: it raises 10 to the number it is given."""
    if not 0 <= precision <= 9:
        raise ValueError
    return round(float(value), precision)


def _title(value: object) -> str:
    """As Jinja2's, where words are between spaces, and for what is short enough to be a title: it goes word by word."""
    text = str(value)
    if len(text) > MAX_TITLE:
        raise OverflowError
    return " ".join(word[:1].upper() + word[1:].lower() for word in text.split(" "))


def _truncate(value: object, length: int = 255, killwords: bool = False, end: str = "...") -> str:
    """As Jinja2's without `leeway`: a text is never longer than `length`."""
    text = str(value)
    if len(text) <= length:
        return text
    if length < len(end):
        raise ValueError
    cut = text[: length - len(end)]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


Function = Callable[..., Any]

_FILTERS: Final = cast("Mapping[str, Function]", FILTERS)
_TESTS: Final = cast("Mapping[str, Function]", TESTS)

ALLOWED_FILTERS: Final[Mapping[str, Function]] = {
    **{name: _FILTERS[name] for name in ("abs", "capitalize", "count", "d", "default", "float", "int", "length")},
    **{name: _FILTERS[name] for name in ("lower", "string", "trim", "upper")},
    "replace": _replace,
    "round": _round,
    "title": _title,
    "truncate": _truncate,
}
"""Those that are sure to be quick and to give back little more than they got, or say so."""

ALLOWED_TESTS: Final[Mapping[str, Function]] = {
    **{name: _TESTS[name] for name in ("boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float")},
    **{name: _TESTS[name] for name in ("ge", "greaterthan", "gt", "in", "integer", "le", "lessthan", "lower", "lt")},
    **{name: _TESTS[name] for name in ("ne", "number", "odd", "string", "true", "undefined", "upper")},
}

_ALLOWED_NODES: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or),
    *(nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
    *(nodes.List, nodes.Tuple),
)
_REFUSED_WORDS: Final[dict[type[nodes.Node], str]] = {
    nodes.For: "no loops: a variable is one value",
    nodes.Call: "no calls: write a filter, such as {{ name | upper }}",
    nodes.Getattr: "no parts of a value (`a.b`): give each part a variable of its own",
    nodes.Getitem: "no parts of a value (`a[0]`): give each part a variable of its own",
    nodes.Pow: "no `**`",
}
_REFUSED_ELSE: Final = "only text, {{ ... }} and {% if ... %}"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 without what a text message has no use for."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Numbers with numbers, and texts put together; results are bounded, for they may be repeated."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            if len(left) + len(right) > MAX_RENDERED:
                raise OverflowError
            return left + right
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError
        if operator == "**" or abs(left) > MAX_NUMBER or abs(right) > MAX_NUMBER:
            raise OverflowError
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False


def _written(value: object) -> object:
    """What {{ ... }} writes: one value, never a list's innards."""
    if isinstance(value, str | int | float | jinja2.Undefined):
        return value
    raise TypeError


def _sandbox() -> _Sandbox:
    made = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_written, cache_size=0)
    made.globals.clear()
    made.filters = {**ALLOWED_FILTERS}
    made.tests = {**ALLOWED_TESTS}
    return made


_SANDBOX: Final = _sandbox()


# -- reading one text -------------------------------------------------------------------------------------------------


class Reading:
    """One text, judged and compiled. Raises ValueError with what is wrong and what to do."""

    def __init__(self, text: str) -> None:
        if not text.strip():
            raise ValueError("is empty; write the text")
        if len(text) > MAX_SOURCE:
            raise ValueError(f"has {len(text)} characters; at most {MAX_SOURCE} are possible: shorten it")
        self.used: set[str] = set()
        """Its variables."""
        self.needed: set[str] = set()
        """Those without which it cannot be filled in."""
        try:
            tree = _SANDBOX.parse(text)
            if sum(1 for _ in tree.find_all(nodes.Node)) > MAX_NODES:
                raise ValueError(f"has more than {MAX_NODES} parts; write it more plainly")
            wrong = next(self._wrong(tree, False), None)
            if wrong is not None:
                raise ValueError(f"line {wrong[0]}: {wrong[1]}")
            self._names(tree, frozenset())
            self.template = _SANDBOX.from_string(tree)
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(_told(error)) from None
        except (RecursionError, SyntaxError, MemoryError):
            # Python's own compiler, at an expression of a thousand brackets.
            raise ValueError("is nested too deeply; write it more plainly") from None

    def _wrong(self, node: nodes.Node, listed: bool) -> Iterator[tuple[int, str]]:
        """Line and words of what may not stand in a template. `listed`: this may be a list, as what `in` looks into."""
        found = _fault_of(node, listed)
        if found is not None:
            yield node.lineno, found
            return
        for child in node.iter_child_nodes():
            among = isinstance(node, nodes.Operand) and node.op in {"in", "notin"}
            among = among or (isinstance(node, nodes.Test) and node.name == "in")
            yield from self._wrong(child, among)

    def _names(self, node: nodes.Node, sure: frozenset[str]) -> None:
        """Which variables it uses, and which must be there. `sure`: those that are known to be, where this stands."""
        match node:
            case nodes.Name():
                self.used.add(node.name)
                self.needed |= {node.name} - sure
                return
            case nodes.Test(node=nodes.Name() as asked, name="defined" | "undefined"):
                self.used.add(asked.name)
                return
            case nodes.Filter(node=nodes.Name() as asked, name="default" | "d"):
                self.used.add(asked.name)
                branches = [(each, sure) for each in (*node.args, *node.kwargs)]
            case nodes.If():
                branches = [(node.test, sure)]
                branches += [(each, sure | _where(node.test, True)) for each in node.body]
                branches += [(each, sure | _where(node.test, False)) for each in (*node.elif_, *node.else_)]
            case nodes.CondExpr(expr2=nodes.Expr() as other):
                branches = [(node.test, sure), (node.expr1, sure | _where(node.test, True))]
                branches += [(other, sure | _where(node.test, False))]
            case nodes.And() | nodes.Or():
                second = sure | _where(node.left, isinstance(node, nodes.And))
                branches = [(node.left, sure), (node.right, second)]
            case _:
                branches = [(each, sure) for each in node.iter_child_nodes()]
        for each, known in branches:
            self._names(each, known)


def _where(test: nodes.Node, outcome: bool) -> frozenset[str]:
    """The variables that are there when the test came out so."""
    match test:
        case nodes.Test(node=nodes.Name() as asked, name="defined" | "undefined"):
            return frozenset({asked.name}) if (test.name == "defined") is outcome else frozenset()
        case nodes.Not():
            return _where(test.node, not outcome)
        case nodes.And() | nodes.Or() if isinstance(test, nodes.And) is outcome:
            return _where(test.left, outcome) | _where(test.right, outcome)
    return frozenset()


def _fault_of(node: nodes.Node, listed: bool) -> str | None:
    """What is wrong with this one node."""
    if not isinstance(node, _ALLOWED_NODES) or (isinstance(node, nodes.List | nodes.Tuple) and not listed):
        return f"it may hold {_REFUSED_WORDS.get(type(node), _REFUSED_ELSE)}"
    match node:
        case nodes.TemplateData(data=data) if found := FORBIDDEN.search(data):
            return f"it holds U+{ord(found[0]):04X}; of control characters only line breaks may be sent"
        case nodes.Name(name="self"):
            return "`self` cannot be a variable's name; choose another"
        case nodes.CondExpr(expr2=None):
            return 'an `if` inside {{ ... }} needs an `else`, such as else ""'
        case nodes.Filter():
            return _misused("filter", node, ALLOWED_FILTERS)
        case nodes.Test():
            return _misused("test", node, ALLOWED_TESTS)
    return None


def _misused(kind: str, node: nodes.Filter | nodes.Test, known: Mapping[str, Function]) -> str | None:
    """Whether a filter or test is unknown, or is given what it does not take."""
    if node.name not in known:
        near = get_close_matches(node.name, known, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(sorted(known))}"
        return f"there is no {kind} `{node.name[:32]}`; {remedy}"
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return f"the {kind} `{node.name}` takes single values; write them out"
    try:
        inspect.signature(known[node.name]).bind(None, *node.args, **{str(each.key): each for each in node.kwargs})
    except TypeError as error:
        return f"the {kind} `{node.name}` cannot be used so ({error})"
    return None


def _told(error: jinja2.TemplateSyntaxError) -> str:
    words = " ".join((error.message or "cannot be read").split())
    return f"line {error.lineno}: it is no template of Jinja2: {words[:160].rstrip('.')}; see `smsd help templates`"
