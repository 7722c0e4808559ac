"""`when:` expressions: a subset of CEL, compiled to the predicates of predicate.py.

    expression = and ("||" and)*
    and        = unary ("&&" unary)*
    unary      = "!" unary | primary
    primary    = "(" expression ")" | "has" "(" name ")" | "true" | "false" | operand [tail]
    tail       = ("==" | "!=" | "<" | "<=" | ">" | ">=") operand | "in" (list | name)
               | "." ("startsWith" | "endsWith" | "contains" | "matches") "(" text ")"
    operand    = name | literal;  one side of a comparison is an attribute's name, the other a literal
    literal    = "text" | 'text' | r"text" | 42 | 1MiB | true | false;  list = "[" literal ("," literal)* "]"
    name       = letters, digits and "_", with dots, behind one also "-"; header["x-tenant"] is header.x-tenant

A name alone is a true/false attribute. Raises ExpressionError, which knows the character at fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mosnpy.config.predicate import TRUE, Predicate, both, check_regex, compare_text, either, negated, one_of
from mosnpy.config.report import did_you_mean
from mosnpy.config.units import Size

if TYPE_CHECKING:
    from mosnpy.config.attributes import AttributeInfo, Scope

__all__ = ["DEEPEST", "ExpressionError", "parse_expression"]

DEEPEST = 28
"""Levels of parentheses and negations, and of predicates within predicates: csrc/route takes 32, `match` may add some."""

_METHODS = {"startsWith": "prefix", "endsWith": "suffix", "contains": "contains", "matches": "regex"}
_COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_FLIPPED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?[A-Za-z]*)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*(?:(?<!\bin)\["[^"\\\n]+"\](?:\.[A-Za-z_]+)?)?)
      | (?P<sign>\|\||&&|[=!<>]=|[<>!()\[\],.])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}


class ExpressionError(ValueError):
    """offset: characters from the start of the expression to what is wrong. unknown: the name that is no attribute."""

    def __init__(self, message: str, offset: int, unknown: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, number, name, sign, end
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class _Operand:
    """Either an attribute (`info`) or a literal (`value`, of type str, int or bool)."""

    at: int
    info: AttributeInfo | None = None
    value: Any = None


def parse_expression(source: str, scope: Scope) -> Predicate:
    """The predicate of a `when:` expression. Raises ExpressionError with a sentence and a place."""
    parser = _Parser(_tokens(source), scope)
    predicate = parser.expression(0)
    parser.expect_end()
    if _depth(predicate) > DEEPEST:
        raise ExpressionError(f"nested deeper than {DEEPEST} levels", 0)
    return predicate


def _depth(predicate: Predicate) -> int:
    inner = predicate[1:] if predicate[0] in ("and", "or", "not") else ()
    return 1 + max(map(_depth, inner), default=0)


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ExpressionError(_stray(source, at), at)
        kind = str(match.lastgroup)
        if kind != "space":
            text = match[0]
            if kind == "name" and "[" in text:
                text = text.replace('["', ".").replace('"]', "")
            tokens.append(_Token(kind, text, at))
        at = match.end()
    tokens.append(_Token("end", "", len(source)))
    return tokens


def _stray(source: str, at: int) -> str:
    char = source[at]
    if char in "\"'":
        return "this text is not closed"
    better = {"=": "==", "&": "&&", "|": "||"}.get(char)
    return f"unexpected {char!r}" + (f", did you mean {better!r}?" if better else "")


class _Parser:
    """Recursive descent over the tokens; one method per rule of the grammar above."""

    def __init__(self, tokens: list[_Token], scope: Scope) -> None:
        self.tokens = tokens
        self.scope = scope
        self.at = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self, *signs: str) -> _Token | None:
        """The next token if it is one of these signs (or the word `in`)."""
        token = self.token
        if token.text in signs and token.kind in ("sign", "name"):
            self.at += 1
            return token
        return None

    def need(self, sign: str, why: str) -> None:
        if not self.take(sign):
            self.fail(f"{sign!r} is expected here: {why}")

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        raise ExpressionError(message, self.token.at if at is None else at)

    def expect_end(self) -> None:
        token = self.token
        if token.kind == "end":
            return
        if token.text == ")":
            self.fail("this ')' closes nothing")
        lower = token.text.lower()
        hint = {"and": "&&", "or": "||", "not": "!"}.get(lower)
        self.fail(f"unexpected {token.text!r}" + (f", did you mean {hint!r}?" if hint else ": && or || is expected"))

    # -- the rules -------------------------------------------------------------------------------------------------

    def expression(self, depth: int) -> Predicate:
        parts = [self.conjunction(depth)]
        while self.take("||"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else either(*parts)

    def conjunction(self, depth: int) -> Predicate:
        parts = [self.unary(depth)]
        while self.take("&&"):
            parts.append(self.unary(depth))
        return parts[0] if len(parts) == 1 else both(*parts)

    def unary(self, depth: int) -> Predicate:
        if depth > DEEPEST:
            self.fail(f"nested deeper than {DEEPEST} levels")
        if self.take("!"):
            return negated(self.unary(depth + 1))
        if self.take("("):
            inner = self.expression(depth + 1)
            self.need(")", "the parenthesis is not closed")
            return inner
        return self.primary()

    def primary(self) -> Predicate:
        token = self.token
        following = self.tokens[self.at + 1] if token.kind == "name" else None
        if token.text == "has" and following and following.text == "(":
            return self.has()
        if following and following.text == "(":
            return self.method()
        left = self.operand()
        operation = self.take(*_COMPARISONS)
        if operation:
            return self.comparison(left, operation, self.operand())
        if self.take("in"):
            return self.membership(left)
        if left.info is None:
            if isinstance(left.value, bool):
                return TRUE if left.value else negated(TRUE)
            self.fail("a condition is expected here, such as an attribute compared with this value", left.at)
        if left.info.type != "bool":
            self.fail(f"{left.info.name} is no condition by itself: compare it, or ask has({token.text})", left.at)
        return ("eq", left.info.name, True)

    def has(self) -> Predicate:
        self.at += 2
        token = self.token
        if token.kind != "name":
            self.fail("has() takes the name of an attribute")
        info = self.attribute(token)
        self.at += 1
        self.need(")", "has() takes one attribute")
        return ("exists", info.name)

    def method(self) -> Predicate:
        token = self.token
        subject, _, name = token.text.rpartition(".")
        where = token.at + len(subject) + bool(subject)
        if not subject or name not in _METHODS:
            known = [*_METHODS, "has"]
            self.fail(
                f"unknown function {name!r}{did_you_mean(name, known) or ': there are ' + ', '.join(known)}", where
            )
        info = self.attribute(_Token("name", subject, token.at))
        if info.type not in ("str", "strs"):
            self.fail(f"{info.name} is no text: {name}() can't be asked of it", where)
        self.at += 2
        argument = self.token
        if argument.kind != "text":
            self.fail(f'{name}() takes one text in quotes, such as {name}("x")')
        text = self.text(argument)
        self.at += 1
        self.need(")", f"{name}() takes one text")
        if name == "matches":
            try:
                check_regex(text)
            except ValueError as error:
                self.fail(str(error), argument.at)
        elif not text:
            return ("exists", info.name)  # every text starts with, ends with and contains nothing
        elif self.scope.upper(info):
            text = text.upper()
        elif info.form == "host":
            text = text.lower()
        return (_METHODS[name], info.name, text)

    def operand(self) -> _Operand:
        token = self.token
        if token.kind == "name" and token.text not in ("true", "false"):
            if token.text == "in":
                self.fail("'in' needs something on its left")
            info = self.attribute(token)
            self.at += 1
            return _Operand(token.at, info)
        return self.literal()

    def literal(self) -> _Operand:
        token = self.token
        value: Any = None
        if token.kind == "text":
            value = self.text(token)
        elif token.kind == "number":
            value = self.number(token)
        elif token.text in ("true", "false"):
            value = token.text == "true"
        elif token.kind == "end":
            self.fail("the expression ends here, something is missing")
        else:
            self.fail(f"an attribute or a value is expected here, not {token.text!r}")
        self.at += 1
        return _Operand(token.at, None, value)

    def attribute(self, token: _Token) -> AttributeInfo:
        try:
            return self.scope.find(token.text)
        except ValueError as error:
            raise ExpressionError(str(error), token.at, token.text) from None

    # -- comparisons -----------------------------------------------------------------------------------------------

    def comparison(self, left: _Operand, sign: _Token, right: _Operand) -> Predicate:
        operation = _COMPARISONS[sign.text]
        if left.info is None:
            left, right, operation = right, left, _FLIPPED[operation]
        if left.info is None or right.info is not None:
            self.fail("one side is the name of an attribute, the other a value", sign.at)
        info = left.info
        if operation in ("eq", "ne"):
            same = self.equality(info, right)
            return negated(same) if operation == "ne" else same
        if info.type != "int":
            self.fail(f"{sign.text} compares numbers, {info.name} is {_TYPES[info.type]}", sign.at)
        self.fits(info, right)
        return (operation, info.name, right.value)

    def equality(self, info: AttributeInfo, operand: _Operand) -> Predicate:
        self.fits(info, operand)
        if isinstance(operand.value, str):
            try:
                return compare_text(operand.value.upper() if self.scope.upper(info) else operand.value, info)
            except ValueError as error:
                self.fail(str(error), operand.at)
        return ("eq", info.name, operand.value)

    def fits(self, info: AttributeInfo, operand: _Operand) -> None:
        """Fails unless the literal is of the attribute's type."""
        wanted = {"str": str, "strs": str, "int": int, "bool": bool}[info.type]
        if type(operand.value) is not wanted:
            self.fail(f"{info.name} is {_TYPES[info.type]}", operand.at)

    def membership(self, left: _Operand) -> Predicate:
        if self.token.kind == "name":
            holder = self.operand()
            if holder.info is None or holder.info.type != "strs" or left.info is not None:
                self.fail(
                    "'in' takes a list such as [1, 2], or a value on the left and an attribute with several on the right",
                    holder.at,
                )
            return self.equality(holder.info, left)
        if left.info is None:
            self.fail("an attribute is expected on the left of 'in'", left.at)
        self.need("[", "'in' takes a list, such as [1, 2]")
        values = [self.equality(left.info, self.literal())[2]]
        while self.take(","):
            values.append(self.equality(left.info, self.literal())[2])
        self.need("]", "the list is not closed")
        return one_of(left.info.name, list(dict.fromkeys(values)))

    # -- literals --------------------------------------------------------------------------------------------------

    def text(self, token: _Token) -> str:
        if token.text[0] in "rR":
            return token.text[2:-1]

        def escape(match: re.Match[str]) -> str:
            hexadecimal, unicode, char = match.groups()
            if hexadecimal or unicode:
                code = int(hexadecimal or unicode, 16)
                if 0xD800 <= code < 0xE000:
                    raise ExpressionError("half of a surrogate pair is no character", token.at + 1 + match.start())
                return chr(code)
            if char not in _ESCAPES:
                hint = ': a regular expression is best written r"…"' if char.isalnum() or char in ".*+()[]{}|^$" else ""
                raise ExpressionError(f"unknown escape '\\{char}'{hint}", token.at + 1 + match.start())
            return _ESCAPES[char]

        return _ESCAPE.sub(escape, token.text[1:-1])

    def number(self, token: _Token) -> int:
        if token.text[-1].isalpha():
            try:
                return int(Size.parse(token.text))
            except ValueError as error:
                self.fail(str(error), token.at)
        if "." in token.text:
            self.fail("only whole numbers can be compared", token.at)
        if len(token.text) > 20 or not -(2**63) <= int(token.text) < 2**63:
            self.fail("this number is too large", token.at)
        return int(token.text)


_TYPES = {"str": "text", "strs": "several texts", "int": "a whole number", "bool": "true or false"}
