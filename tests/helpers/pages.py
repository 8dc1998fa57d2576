"""The pages of the documentation, taken apart: their blocks of code, what they name between backticks, their links."""

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(p for p in ROOT.glob("*.md")), ROOT / "images/README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("bash", "python", "text", "yaml")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*$")
_EDIT = re.compile(r"<!-- (?:edit|file|replace) ")  # of docs/extend.md


@dataclass(frozen=True)
class Block:
    """A block of code: ``reason`` says why it is not run, None where it is."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """``spans`` are the texts between backticks, ``anchors`` what links to its headings name."""

    name: str
    blocks: tuple[Block, ...]
    spans: tuple[str, ...]
    links: tuple[str, ...]
    anchors: tuple[str, ...]


@functools.cache
def page(path: Path) -> Page:
    """Return a page of Markdown. A block is ``text`` without a language where it is indented, which tests refuse."""
    name, tokens = str(path.relative_to(ROOT)), MarkdownIt().enable("table").parse(path.read_text())
    blocks, spans, links, anchors = [], [], [], []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type in ("fence", "code_block"):
            note = before.content if before is not None and before.type == "html_block" else ""
            found = _NOT_RUN.search(note)
            reason = found[1] if found else "tests/test_extend.py applies it" if _EDIT.search(note) else None
            blocks.append(Block(name, token.map[0] + 1, token.info.strip(), token.content, reason))
        elif token.type == "inline":
            children = token.children
            if before.type == "heading_open":
                anchors.append(_slug("".join(c.content for c in children)))
            spans += [" ".join(c.content.split()) for c in children if c.type == "code_inline"]
            links += [
                str(c.attrs.get("href", c.attrs.get("src"))) for c in children if c.type in ("link_open", "image")
            ]
    return Page(name, tuple(blocks), tuple(spans), tuple(links), tuple(anchors))


def commands(text: str) -> list[list[str]]:
    """Return the commands of lines of a shell, in words, without comments and variables that are set before them."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in words:
            if set(word) <= set("&|;"):
                parts.append([])
            elif parts[-1] or not re.match(r"\w+=", word):
                parts[-1].append(word)
        found += [part for part in parts if part]
    return found


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
