from __future__ import annotations

import io
import subprocess

import pytest
from dotenv import dotenv_values

from orchestrator.core import variables
from orchestrator.errors import UsageError

PLAIN = """\
# a comment
A=1
export B=two
C = spaced
D='single $HOME # not a comment'
E="double \\"quoted\\" # kept"  # a comment
F=plain # a comment
G=a#b
H=
I=""
J="first
second"
K=${A}0
\tL=x
M="${B}-3"
N=é
"""
SHELL = [line for line in PLAIN.splitlines() if " = " not in line]


def test_an_env_file_is_read_as_python_dotenv_reads_it() -> None:
    assert variables.parse(PLAIN, ".env") == dotenv_values(stream=io.StringIO(PLAIN))


def test_an_env_file_is_read_as_a_shell_reads_it() -> None:
    text = "\n".join([*SHELL, ""])
    script = f"set -a\n{text}\nexec env -0"
    out = subprocess.run(
        ["bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    shell = dict(entry.split("=", 1) for entry in out.stdout.decode().split("\0") if entry)
    assert variables.parse(text, ".env").items() <= shell.items()


def test_windows_line_ends_of_an_env_file_are_no_values() -> None:
    assert variables.parse("A=1\r\nB='x'\r\n", ".env") == {"A": "1", "B": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB\n", ".env:2: B has no value"),
        ("A=1\nB=${HOME}/x\n", ".env:2: B refers to HOME"),
        ("B=pa$word\n", ".env:1: B refers to $word"),
        ("B=$(date)\n", ".env:1: B refers to $(date)"),
        ("A='x\n", ".env:1: A: the quote is not closed"),
        ('A="x" y\n', ".env:1: A: there is text after the closing quote"),
        ("A=1\n\n1A=x\n", ".env:3: this is no variable"),
        ("A=1\nthis is text\n", ".env:2: this has no value"),
        ("{\n", ".env:1: { "),
    ],
)
def test_an_env_file_that_cannot_be_read_is_refused_by_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        variables.parse(text, ".env")
    assert message.strip("{ ") in error.value.what


SECRETS = [
    ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567"),
    ("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    ("ANYTHING", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("AWS_SESSION_TOKEN", "abcdefghij"),
    ("db_password", "hunter2"),
    ("DB_PASSWORD", "123456"),
    ("DATABASE_URL", "postgres://me:secret@db/train"),
    ("HEADER", "Bearer eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0NTY3.abc"),
    ("SSH", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"),
    ("CLIENT_SECRET", "q8w7e6r5t4"),
    ("HOOK", "https://hooks.slack.com/services/T0/B0/x"),
]
PLAINS = [
    ("TOKENIZERS_PARALLELISM", "false"),
    ("MAX_TOKENS", "40960000"),
    ("PAD_TOKEN", "<|endoftext|>"),
    ("USE_AUTH_TOKEN", "true"),
    ("SSH_PRIVATE_KEY", "/run/secrets/key"),
    ("API_KEY", "$"),
    ("SORT_KEY", "descending"),
    ("DATABASE_URL", "postgres://db:5432/train"),
    ("PASSWORD", ""),
    ("WANDB_PROJECT", "sign-language-translation"),
    ("NCCL_DEBUG", "INFO"),
    ("MASTER_ADDR", "127.0.0.1"),
    ("DESCRIPTION", "mask-rcnn-resnet50-fpn-v2-finetuned"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_value_that_looks_like_a_secret_is_found(name: str, value: str) -> None:
    assert variables.is_secret(name, value)


@pytest.mark.parametrize(("name", "value"), PLAINS)
def test_an_ordinary_variable_is_no_secret(name: str, value: str) -> None:
    assert not variables.is_secret(name, value)


@pytest.mark.parametrize("name", ["GPUJOB_MARK", "PATH", "TMPDIR", "VIRTUAL_ENV", "A-B", "1A", ""])
def test_a_variable_that_gpujob_sets_or_nobody_can_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as error:
        variables.require(name, "x", "job.yaml:3", "env.vars")
    assert error.value.what.startswith("job.yaml:3: env.vars: ")
