"""The documentation and the code use plain technical English: a list of phrases is banned, and every link resolves."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROSE = (
    "README.md", "docs/*.md", "docs/decisions/*.md", "contrib/*/README.md", "contrib/*/*.yml", "contrib/**/*.yaml",
    "contrib/*/*.json", "contrib/**/*.service", "benchmarks/README.md",
)  # fmt: skip
CODE = (
    "vsqlvault/**/*.py", "plugins/**/*.py", "contrib/*/*.py", "contrib/*/src/**/*.py", "contrib/*/tests/*.py",
    "benchmarks/*.py", "tests/**/*.py", "conftest.py",
)  # fmt: skip
"""Globs of Python files whose comments, docstrings and strings are checked. To check another folder, add its glob."""

ALLOWED: frozenset[tuple[str, str]] = frozenset()
"""Pairs of a file and a phrase that it has to quote."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A banned phrase: a regular expression for it, and what to write instead."""

    pattern: str
    instead: str

    def compiled(self) -> re.Pattern[str]:
        """Return the expression, which matches whole words and ignores case; a space matches a line break, too."""
        return re.compile(rf"\b(?:{self.pattern})\b".replace(" ", r"\s+"), re.IGNORECASE)


BANNED = (
    Phrase("who(m|so)?ever", "the caller, an operator, anyone who: name the role"),
    Phrase("told", "learns, receives, is configured"),
    Phrase("tells? (of|whether|why|how|which|what|who|where)", "shows, reports, describes"),
    Phrase("look(s|ed|ing)? at", "read, examine, check"),
    Phrase("an?(other)? look", "a read, a check"),
    Phrase("on record", "recorded, in the audit log"),
    Phrase("anew", "again"),
    Phrase("so (many|much|long|often|few)(?! as)", "the number, the limit"),
    Phrase("in sight", "visible, known"),
    Phrase(r"(?<!\bin\W)(?<!`)flights?", "flush, batch in progress"),
    Phrase("take(s|n)? off", "start"),
    Phrase("under way", "in progress"),
    Phrase("nobody (knows|can say|can tell|could say|could tell)", "is unknown, cannot be determined"),
    Phrase("has (its|their) (turn|word)", "runs, decides"),
    Phrase("the house", "the project"),
    Phrase("of (its|their|our|your) own accord", "by itself"),
    Phrase("befalls?|befell", "fails, affects"),
    Phrase("misfortunes?", "error"),
    Phrase("oddit(y|ies)", "anomaly"),
    Phrase("thin(s|ned|ning)? out", "delete"),
    Phrase("turn(s|ed|ing)? away", "reject"),
    Phrase("beforehand", "in advance"),
    Phrase("of then", "of that time"),
    Phrase("gives? away", "discloses, returns"),
    Phrase("locks? (itself|its own process) in", "applies the sandbox"),
    Phrase("leap(s|t|ed)?(?! (day|year|second)s?)", "jump"),
    Phrase("lets? (go|know) of", "releases"),
    Phrase("in the place of", "instead of"),
    Phrase("put down to", "attributed to"),
    Phrase("stand(s|ing)? (there|here|in for)", "is in, is listed in"),
    Phrase("stays? behind", "remains"),
    Phrase("as (it|they) should be", "valid"),
    Phrase("all is well", "there is no problem"),
    Phrase("cannot be had", "is unavailable"),
    Phrase("vouch(es|ed|ing)?", "confirms, signs"),
    Phrase("wakes? somebody", "needs action now"),
)
"""Every phrase is at zero in the files below. The texts of the failure say what to write instead."""

GAP = r"""(?:\W|\\[nrt]|\b[bfru]{1,2}(?=["']))+"""
"""Between two words of a comment or string as they stand in a file: also the ends of lines and of adjacent literals."""
MAYBE = re.compile(rf"(?:\b|\\[nrt])(?:{'|'.join(phrase.pattern for phrase in BANNED)})\b".replace(" ", GAP))
"""Matches lower-case source that has a banned phrase, perhaps only as a name of the code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One banned phrase in one file."""

    path: str
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.text.split())!r}: write instead: {self.instead}"


def files(globs: Sequence[str], root: Path = ROOT) -> list[Path]:
    """Return the files that the globs match, in order, except this one, which has to quote the phrases."""
    return sorted({path for glob in globs for path in root.glob(glob) if path.is_file()} - {Path(__file__)})


def findings(globs: Sequence[str], root: Path = ROOT) -> list[Finding]:
    """Return every banned phrase in the texts of the files."""
    phrases = [(phrase, phrase.compiled()) for phrase in BANNED]
    found: list[Finding] = []
    for path in files(globs, root):
        name = path.relative_to(root).as_posix()
        found += [
            Finding(name, line + text.count("\n", 0, match.start()), match[0], phrase.instead)
            for line, text in texts(path)
            for phrase, pattern in phrases
            for match in pattern.finditer(text)
            if (name, match[0].lower()) not in ALLOWED
        ]
    return found


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Give the texts of a file with their lines: of Python the comments and strings, of anything else all of it."""
    source = path.read_text("utf-8")
    if path.suffix != ".py":
        yield 1, source
        return
    if not MAYBE.search(source.lower()):
        return  # to read it token by token takes a hundred times as long
    yield from _comments(source)
    yield from _strings(source)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Give the comments; those of adjacent lines are one text, so that a phrase is found across a line break."""
    start, last, lines = 0, 0, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if lines and token.start[0] != last + 1:
                yield start, "\n".join(lines)
                lines = []
            start = start if lines else token.start[0]
            last = token.start[0]
            lines.append(token.string.lstrip("#"))
    if lines:
        yield start, "\n".join(lines)


def _strings(source: str) -> Iterator[tuple[int, str]]:
    """Give the string literals, docstrings among them, joined as Python joins them; of an f-string its fixed parts."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, re.sub(r"``[^`]*``", "``…``", node.value)  # an identifier is not prose


@pytest.mark.parametrize("glob", PROSE + CODE)
def test_no_banned_phrase_is_used(glob: str) -> None:
    assert files([glob])
    assert "\n".join(map(str, findings([glob]))) == ""


def test_a_banned_phrase_is_found_in_prose_and_in_each_kind_of_python_text(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("One.\n\nThe row is on\nrecord.\n", "utf-8")
    (tmp_path / "code.py").write_text(
        '"""For whoever reads."""\n\n# It is looked\n# at once.\nTOLD = f"{1} anew"\nanew = 1\n', "utf-8"
    )
    found = {(each.path, each.line, each.text) for each in findings(["*.md", "*.py"], tmp_path)}
    assert found == {
        ("page.md", 3, "on\nrecord"),
        ("code.py", 1, "whoever"),
        ("code.py", 3, "looked\n at"),
        ("code.py", 5, "anew"),
    }


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, in GitHub's form."""
    headings = re.findall(r"^#+ (.+)$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(path: Path) -> str:
    """Return a page's text without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", files([glob for glob in PROSE if glob.endswith(".md")]), ids=lambda page: page.name)
def test_every_relative_link_of_a_page_resolves(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_decisions_are_numbered_without_gaps_and_have_their_number_in_the_title() -> None:
    pages = files(["docs/decisions/*.md"])
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.read_text("utf-8").startswith(f"# {int(page.name[:4])}. ")


def test_every_decision_that_the_code_cites_exists() -> None:
    sources = files(["vsqlvault/**/*.py", "plugins/**/*.py", "plugins/**/*.sql", "contrib/**/*.py", "benchmarks/*.py"])
    cited = {link for path in sources for link in re.findall(r"docs/decisions/[\w-]+\.md", path.read_text("utf-8"))}
    assert {link for link in cited if not (ROOT / link).is_file()} == set()
