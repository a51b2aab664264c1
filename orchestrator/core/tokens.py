"""Credentials written into code: found by the fixed prefixes that services give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

LARGEST = 1 << 20  # bytes of a file that is searched
MOST_BYTES = 16 << 20  # of all files of a deploy
MOST_FILES = 2000
_TEXT = """
    c cc cfg conf cpp cs cu env go h hpp html ini ipynb java jl js json jsx kt lua m md php pl ps1 py pyi r rb
    rs rst scala sh sql swift tex toml ts tsx txt vue yaml yml
"""
_SUFFIXES = frozenset(_TEXT.split())
KEY_HEADER = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"


class Form(NamedTuple):
    """How a service forms its credentials; prose and identifiers do not match. `literal`: in each of them."""

    literal: bytes
    pattern: bytes
    kind: str


# The id of an AWS key is no secret by itself, and a header of a key may stand in code about keys.
_HINTS = (
    Form(b"PRIVATE KEY", KEY_HEADER + rb"(?:[\s\"',]|\\[nr])*[A-Za-z0-9+/]{40}", "a private key"),
    Form(b"AKIA", rb"\bAKIA[A-Z2-7]{16}\b(?<!EXAMPLE)", "an AWS access key"),
    Form(b"ASIA", rb"\bASIA[A-Z2-7]{16}\b(?<!EXAMPLE)", "an AWS access key"),
    Form(
        b"://",
        rb"://[^\s/:@'\"<>{}$*]{0,100}:(?!(?:pass(?:word|wd)?|secret|token)@)[^\s/:@'\"<>{}$*]{8,200}@"
        rb"(?!localhost\b|127\.|(?:[\w-]+\.)?example\b)",
        "a password in a URL",
    ),
)
TOKENS = (
    Form(b"hf_", rb"\bhf_[A-Za-z0-9]{30,}", "a Hugging Face token"),
    *(Form(b"gh%c_" % letter, rb"\bgh%c_[A-Za-z0-9]{30,}" % letter, "a GitHub token") for letter in b"pousr"),
    Form(b"github_pat_", rb"\bgithub_pat_\w{30,}", "a GitHub token"),
    Form(b"glpat-", rb"\bglpat-[\w-]{20,}", "a GitLab token"),
    Form(b"sk-ant-", rb"\bsk-ant-[\w-]{16,}", "an Anthropic key"),
    Form(b"sk-or-", rb"\bsk-or-[\w-]{16,}", "an OpenRouter key"),
    Form(b"sk-", rb"\bsk-(?:(?:proj|svcacct)-[\w-]{16,}|[A-Za-z0-9]{20,})", "an OpenAI key"),
    Form(b"xox", rb"\bxox[abeprs]-[\w-]{10,}", "a Slack token"),
    Form(b"hooks.slack.com/services/", rb"hooks\.slack\.com/services/T[\w/]*", "a Slack webhook"),
    Form(b".com/api/webhooks/", rb"discord(?:app)?\.com/api/webhooks/\d[\w/-]*", "a Discord webhook"),
    Form(b"AIza", rb"\bAIza[\w-]{35}", "a Google API key"),
    Form(b"eyJ", rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.", "a JSON web token"),
    Form(b"npm_", rb"\bnpm_[A-Za-z0-9]{36}", "an npm token"),
    Form(b"pypi-", rb"\bpypi-[\w-]{50,}", "a PyPI token"),
    Form(b"dapi", rb"\bdapi[0-9a-f]{32}\b", "a Databricks token"),
    Form(b"GOCSPX-", rb"\bGOCSPX-[\w-]{24,}", "a Google client secret"),
    Form(b"r8_", rb"\br8_[A-Za-z0-9]{37}", "a Replicate token"),
    Form(b"gsk_", rb"\bgsk_[A-Za-z0-9]{40,}", "a Groq key"),
    Form(b"xai-", rb"\bxai-[A-Za-z0-9]{60,}", "an xAI key"),
    Form(b"pplx-", rb"\bpplx-[A-Za-z0-9]{40,}", "a Perplexity key"),
    Form(b"nvapi-", rb"\bnvapi-[\w-]{50,}", "an NVIDIA key"),
    Form(b"rpa_", rb"\brpa_[A-Z0-9]{40,}", "a RunPod key"),
    Form(b"dckr_", rb"\bdckr_[op]at_[\w-]{20,}", "a Docker token"),
    Form(b"_v1_", rb"\bdo[opr]_v1_[0-9a-f]{64}", "a DigitalOcean token"),
    Form(b"hvs.", rb"\bhvs\.[\w-]{60,}", "a Vault token"),
    Form(b"lsv2_", rb"\blsv2_[ps][tk]_[0-9a-f]{32}", "a LangSmith key"),
    Form(b"tskey-", rb"\btskey-[a-z]+-\w+-\w{20,}", "a Tailscale key"),
    Form(b"SG.", rb"\bSG\.[\w-]{20,}\.[\w-]{40,}", "a SendGrid key"),
    Form(b"k_live_", rb"\b[rs]k_live_[A-Za-z0-9]{20,}", "a Stripe key"),
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
    for literal, pattern, kind in (*_HINTS, *TOKENS):
        if literal not in content:
            continue
        for match in re.finditer(pattern, content):  # compiled when it is needed
            if len(set(match[0].partition(literal)[2])) >= _VARIED:
                yield Finding(content.count(b"\n", 0, match.start()) + 1, kind)
