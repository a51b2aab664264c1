"""Credentials written into code: found by the fixed prefixes that services give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

LARGEST = 1 << 20  # bytes of a file that is searched
MOST_BYTES = 16 << 20  # of all files of a deploy
MOST_FILES = 2000
_TEXT = """
    c cc cfg conf cpp cs cu env go h hpp html ini ipynb java jl js json jsx kt lua m md php pl ps1 py pyi r rb
    rs rst scala sh sql swift tex toml ts tsx txt vue yaml yml
"""
_SUFFIXES = frozenset(_TEXT.split())
_KEY = rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY-----(?:[\s\"',]|\\[nr])*[A-Za-z0-9+/]{40}"
# What a file must contain, the form of the whole credential, and what it is.
_FORMS = (
    (b"PRIVATE KEY-----", _KEY, "a private key"),
    (b"AKIA", rb"\bAKIA[A-Z2-7]{16}\b(?<!EXAMPLE)", "an AWS access key"),
    (b"ASIA", rb"\bASIA[A-Z2-7]{16}\b(?<!EXAMPLE)", "an AWS access key"),
    (b"hf_", rb"\bhf_[A-Za-z0-9]{30,}\b", "a Hugging Face token"),
    (b"ghp_", rb"\bghp_[A-Za-z0-9]{36}\b", "a GitHub token"),
    (b"gho_", rb"\bgho_[A-Za-z0-9]{36}\b", "a GitHub token"),
    (b"ghs_", rb"\bghs_[A-Za-z0-9]{36}\b", "a GitHub token"),
    (b"github_pat_", rb"\bgithub_pat_\w{60,}\b", "a GitHub token"),
    (b"glpat-", rb"\bglpat-[\w-]{20,}", "a GitLab token"),
    (b"sk-ant-", rb"\bsk-ant-[\w-]{40,}", "an Anthropic key"),
    (b"sk-proj-", rb"\bsk-proj-[\w-]{40,}", "an OpenAI key"),
    (b"xoxb-", rb"\bxoxb-[0-9]+-[\w-]{20,}", "a Slack token"),
    (b"hooks.slack.com/", rb"hooks\.slack\.com/services/T\w+/B\w+/\w{20,}", "a Slack webhook"),
    (b"AIza", rb"\bAIza[\w-]{35}\b", "a Google API key"),
)
_VARIED = 10  # different characters that a real credential has at least, unlike hf_xxxxxxxx


class Finding(msgspec.Struct, frozen=True):
    """Where a credential is in a text, and which; never its value."""

    line: int
    kind: str


def may_hold(path: str, size: int) -> bool:
    """Whether a file of this name and size is text that is searched."""
    return size <= LARGEST and path.rpartition(".")[2].lower() in _SUFFIXES


def find(content: bytes) -> Iterator[Finding]:
    """Yields what looks like a credential, kind by kind; placeholders such as hf_xxxxxxxx do not."""
    for literal, form, kind in _FORMS:
        if literal not in content:
            continue
        for match in re.finditer(form, content):  # compiled when it is needed
            if len(set(match[0][len(literal) :])) >= _VARIED:
                yield Finding(content.count(b"\n", 0, match.start()) + 1, kind)
