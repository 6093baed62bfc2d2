"""Checks Cedar text before Cedar parses it: tokens, policies, annotations and limits.

Cedar's parser, validator and evaluator recurse without a limit, and a stack overflow ends the whole process. A text
therefore reaches them only after this module has read every token, by the token table of Cedar's own grammar
(``cedar-policy-core/src/parser/grammar.lalrpop``), and has limited its nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MAX_TEXT = 8192
MAX_NESTING = 16
MAX_CONDITIONALS = 32
MAX_PATH = 8
MAX_RETRIEVALS = 2**31 - 1
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
ANNOTATIONS = ("id", "max_retrievals")

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+|//[^\r\n]*)
    |(?P<text>"(?:\\[^\n]|[^"\\])*")
    |(?P<name>\??[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+)
    |(?P<sign>::|==|!=|<=|>=|\|\||&&|[@.,;:(){}\[\]<>+\-*/%!=])
    """,
    re.VERBOSE | re.ASCII,
)
_SYNTAX = "unexpected"
_CLOSES = {"(": ")", "[": "]", "{": "}"}


class TextRefused(Exception):
    """What was expected of the text at ``offset``."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(expected)
        self.offset = offset
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and its start."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy of the text, from its first annotation to its semicolon."""

    tokens: tuple[Token, ...]
    id: str | None
    max_retrievals: int | None

    @property
    def offset(self) -> int:
        """The start of the policy."""
        return self.tokens[0].offset

    @property
    def end(self) -> int:
        """The end of the policy, including its semicolon."""
        return self.tokens[-1].offset + 1


def read_statements(text: str) -> list[Statement]:
    """Return the policies of a text.

    Raises:
        TextRefused: it is not a sequence of Cedar tokens, nests too deeply, or has an unsupported annotation.
    """
    if len(text) > MAX_TEXT:
        raise TextRefused(MAX_TEXT, f"at most {MAX_TEXT} characters")
    statements = [_statement(tokens) for tokens in _split(_tokens(text))]
    if not statements:
        raise TextRefused(0, "a policy")
    seen: set[str] = set()
    for statement in statements:
        if statement.id is not None and statement.id in seen:
            raise TextRefused(statement.offset, "an @id that no earlier policy has")
        seen.add(statement.id or "")
    return statements


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of ``offset``, both counted from 1."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def first_fault(text: str, statements: Sequence[Statement], complaint: Callable[[str], str | None]) -> int:
    """Return the position of the first error; ``complaint`` is the parser's message, or None if it has none.

    An LR parser accepts a prefix without an error only if it is the start of some valid text. The shortest prefix of a
    policy with the same error as the whole text therefore ends with the wrong token. An error that is not one of syntax
    is reported at the token that completed it, or at the start of its policy.
    """
    for statement in statements:
        said = complaint(text[statement.offset : statement.end])
        if said is None:
            continue
        is_syntax = said.startswith(_SYNTAX)
        # # Closed by a semicolon, a prefix is never merely incomplete. The semicolon itself must not cause the error.
        closed = ";" if is_syntax and "`;`" not in said else ""
        low, high = 0, len(statement.tokens)
        while high - low > 1:
            middle = (low + high) // 2
            prefix = text[statement.offset : _end(statement.tokens[middle - 1])] + closed
            low, high = (low, middle) if complaint(prefix) == said else (middle, high)
        if is_syntax:
            return statement.tokens[high - 1].offset
        return statement.tokens[high - 2].offset if high < len(statement.tokens) else statement.offset
    return 0


def _end(token: Token) -> int:
    return token.offset + len(token.text)


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise TextRefused(place, "a text in double quotes that ends" if text[place] == '"' else "a Cedar token")
        if found.lastgroup != "blank":
            yield Token(found[0], place)
        place = found.end()


def _split(tokens: Iterator[Token]) -> Iterator[tuple[Token, ...]]:
    """Yield the tokens of each policy. Brackets must match, and nesting of brackets and conditionals is limited."""
    statement: list[Token] = []
    closing: list[str] = []
    conditionals = path = 0
    for token in tokens:
        statement.append(token)
        path = _path_length(statement, path)
        conditionals += token.text == "if"
        if token.text in _CLOSES:
            closing.append(_CLOSES[token.text])
        elif token.text in {")", "]", "}"} and (not closing or closing.pop() != token.text):
            raise TextRefused(token.offset, "a bracket that closes the last open one")
        if len(closing) > MAX_NESTING or conditionals > MAX_CONDITIONALS or path > MAX_PATH:
            raise TextRefused(
                token.offset,
                f"at most {MAX_NESTING} brackets within brackets, {MAX_CONDITIONALS} ifs and paths of {MAX_PATH} names",
            )
        if token.text == ";":
            if closing:
                raise TextRefused(token.offset, f"a {closing[-1]} before the semicolon")
            yield tuple(statement)
            statement, conditionals, path = [], 0, 0
    if statement:
        raise TextRefused(statement[-1].offset, "brackets that are closed, and a semicolon at the end")


def _path_length(statement: Sequence[Token], so_far: int) -> int:
    """Return the number of names in the path that ends here: ``a.b.c`` has three."""
    if len(statement) > 1 and statement[-1].text == ".":
        return so_far
    is_name = statement[-1].text[0].isalpha() or statement[-1].text[0] == "_"
    continues = len(statement) > 1 and statement[-2].text == "."
    return (so_far if continues else 0) + is_name


def _statement(tokens: tuple[Token, ...]) -> Statement:
    values: dict[str, str] = {}
    place = 0
    while tokens[place].text == "@":
        name, value = tokens[place + 1].text, _annotation_value(tokens, place)
        if name not in ANNOTATIONS or name in values:
            raise TextRefused(tokens[place].offset, "@id or @max_retrievals, each at most once")
        if value is None or not _is_sound(name, value):
            raise TextRefused(
                tokens[place].offset,
                f'@id("{ID.pattern}")' if name == "id" else f'@max_retrievals("1") to ("{MAX_RETRIEVALS}")',
            )
        values[name] = value
        place += 5
    limit = values.get("max_retrievals")
    if limit is not None and tokens[place].text != "permit":
        raise TextRefused(tokens[place].offset, "permit: only a permit has a limit")
    return Statement(tokens, values.get("id"), int(limit) if limit else None)


def _annotation_value(tokens: Sequence[Token], place: int) -> str | None:
    pieces = [token.text for token in tokens[place + 2 : place + 5]]
    is_whole = len(pieces) == 3 and (pieces[0], pieces[2]) == ("(", ")") and pieces[1].startswith('"')  # noqa: PLR2004
    return pieces[1][1:-1] if is_whole else None


def _is_sound(name: str, value: str) -> bool:
    if name == "id":
        return ID.fullmatch(value) is not None
    return value.isascii() and value.isdecimal() and value[0] != "0" and int(value[:11]) <= MAX_RETRIEVALS
