"""Credentials in code are found by their form, with their line; what is like them is not."""

from __future__ import annotations

import json
import random
import string

import pytest

from orchestrator.core import credentials, tokens

CHANCE = random.Random(4)
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(CHANCE.sample(alphabet * 4, count))


# Made here, so that no file of the repository holds a text of these forms.
REAL = {
    "an AWS access key": "AKIA" + letters(16, UPPER),
    "a Hugging Face token": "hf_" + letters(34),
    "a GitHub token": "ghp_" + letters(36),
    "a GitLab token": "glpat-" + letters(20),
    "an Anthropic key": "sk-ant-" + "api03-" + letters(60),
    "an OpenAI key": "sk-proj-" + letters(60),
    "an OpenRouter key": "sk-or-" + "v1-" + letters(60),
    "a Discord webhook": "https://discord.com/api/webhooks/" + "123456789/" + letters(60),
    "a JSON web token": "eyJ" + letters(30) + ".eyJ" + letters(60) + "." + letters(40),
    "an npm token": "npm_" + letters(36),
    "a PyPI token": "pypi-" + letters(80),
    "a Databricks token": "dapi" + "0123456789abcdef" * 2,
    "a DigitalOcean token": "dop_v1_" + "0123456789abcdef" * 4,
    "a Docker token": "dckr_pat_" + letters(27),
    "a Google client secret": "GOCSPX-" + letters(28),
    "a Groq key": "gsk_" + letters(52),
    "a LangSmith key": "lsv2_" + "pt_" + "0123456789abcdef" * 2 + "_0123456789",
    "a Perplexity key": "pplx-" + letters(48),
    "a Replicate token": "r8_" + letters(37),
    "a RunPod key": "rpa_" + letters(46, UPPER),
    "a SendGrid key": "SG." + letters(22) + "." + letters(43),
    "a Stripe key": "sk_live_" + letters(24),
    "a Tailscale key": "tskey-auth-" + letters(12) + "-" + letters(32),
    "a Vault token": "hvs." + letters(90),
    "an NVIDIA key": "nvapi-" + letters(64),
    "an xAI key": "xai-" + letters(80),
    "a Slack token": "xoxb-" + "1234567890-" + letters(24),
    "a Google API key": "AIza" + letters(35),
    "a password in a URL": "https://ci:" + letters(16) + "@pypi.acme.com/simple",
    "a private key": "-----BEGIN RSA PRIVATE KEY" + "-----\n" + letters(64),
}


@pytest.mark.parametrize("kind", REAL)
def test_a_credential_in_code_is_found_with_its_line_and_not_its_value(kind: str) -> None:
    found = list(tokens.find(f"import os\n\nTOKEN = '{REAL[kind]}'\n".encode()))
    assert found == [tokens.Finding(3, kind)]
    assert REAL[kind] not in str(found)


@pytest.mark.parametrize("kind", sorted(REAL.keys() - {"an AWS access key", "a password in a URL"}))
def test_a_file_with_a_credential_that_code_is_searched_for_is_not_sent(kind: str) -> None:
    """An AWS access key is only the name of its secret, and pip needs the URLs of a requirements file."""
    assert credentials.holds_credential(f"a = 1\nTOKEN={REAL[kind]}\n".encode())


def test_a_key_in_a_cell_of_a_notebook_is_found() -> None:
    cell = {"cells": [{"source": [REAL["a private key"], f"t = '{REAL['a GitHub token']}'"]}]}
    assert {one.kind for one in tokens.find(json.dumps(cell).encode())} == {"a private key", "a GitHub token"}


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "x" * 34,
        "token = 'ghp_" + "0" * 36 + "'",
        "AKIAIOSFODNN7" + "EXAMPLE",
        "if line == '-----BEGIN PRIVATE KEY" + "-----': return parse(line)",
        "hf_hub_download(repo_id, filename)",
        "mask-proj-attention, task-ant-colony, risk-" + "a" * 50,
        "ghp_token = os.environ['GH_TOKEN']",
        "xAKIA" + letters(16, UPPER),
        "-----BEGIN PUBLIC KEY" + "-----\n" + letters(64),
        "sha256 = '" + "0123456789abcdef" * 4 + "'",
        "r8_conv_block_with_norm, gsk_of_layers, max_v1_block, maxai-like, hvs.append(x), SG.step.size(1)",
        "--index-url https://${PYPI_USER}:${PYPI_PASSWORD}@pypi.acme.com/simple",
        "f'postgresql://{user}:{password_of_user}@db.acme.com/runs'",
        "redis://default:correct-horse-battery@localhost:6379, https://user:password@github.com/a",
        "see http://127.0.0.1:8080/report@2024 and https://host.acme.com:8443/a@b-c-d-e-f-g-h-i",
    ],
)
def test_placeholders_examples_and_code_about_keys_are_no_credentials(text: str) -> None:
    assert list(tokens.find(text.encode())) == []


def test_text_is_searched_up_to_a_size_and_data_is_not() -> None:
    assert [tokens.may_hold(path, 10) for path in ("a/b.py", "n.IPYNB", "c.yaml")] == [True] * 3
    assert [tokens.may_hold(path, 10) for path in ("w.pt", "i.png", "a.csv")] == [False] * 3
    assert not tokens.may_hold("n.ipynb", tokens.LARGEST + 1)
