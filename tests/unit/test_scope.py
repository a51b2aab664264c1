"""What of a code folder is sent: no credentials, nothing of gpujob's own, no links that would break."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator import scope, source
from orchestrator.core import credentials
from orchestrator.errors import UsageError
from orchestrator.scope import Scope
from tests.unit.test_source import git

SECRETS = (".ssh/config", ".aws/credentials", ".gnupg/trustdb.gpg", ".netrc", "sub/.env", ".env.production")
SECRETS += (".config/gcloud/x.db", ".mozilla/firefox/a/cookies.sqlite", "keys/ID_RSA", "vault.kdbx")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("print(1)\n")
    return folder


def fill(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def names(read: source.Source) -> set[str]:
    return {entry.path for entry in read.tree.entries}


@pytest.mark.parametrize("with_git", [True, False])
def test_credential_files_are_not_sent_but_named(code: Path, with_git: bool) -> None:
    fill(code, *SECRETS, ".env.example", ".aws.py", "ssh/config.py")
    if with_git:
        git(code, "init", "-q")
        git(code, "add", "-A")
    read = source.read(code)
    assert names(read) == {"a.py", ".env.example", ".aws.py", "ssh/config.py"}
    assert len(read.notes) == 1
    assert read.notes[0].startswith("not sent, since they look like credentials: .aws/, ")
    assert read.notes[0].count(",") == 5
    assert " and 5 more " in read.notes[0]


def test_private_keys_are_recognised_by_content_under_any_name(code: Path) -> None:
    for name, kind in (("deploy_key", "ed25519"), ("server.pem", "ecdsa"), ("other.key", "ed25519")):
        words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(code / name)]
        subprocess.run([*words, *(["-m", "PEM"] if name == "server.pem" else [])], check=True)
    fill(code, "cloud.json", content='{"private_key": "-----BEGIN PRIVATE KEY-----\\nMII"}')
    fill(code, "aws", content="[default]\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n")
    fill(code, "README", "notes.json", content="-----BEGIN CERTIFICATE-----")
    sent = names(source.read(code))
    assert sent == {"a.py", "deploy_key.pub", "server.pem.pub", "other.key.pub", "README", "notes.json"}


PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n" + ("A" * 64 + "\n") * 28 + "-----END CERTIFICATE-----\n"


def test_copies_and_other_forms_of_private_keys_are_not_sent(code: Path) -> None:
    fill(code, "id_rsa.bak", "server.key.orig", "deploy.pem.save", "key.2024", "a.rsa", content=PRIVATE)
    fill(code, "bundle.pem", content=CERTIFICATE * 12 + PRIVATE)
    fill(code, "wg0.conf", content=f"[Interface]\nPrivateKey = {'yAnz5TF' * 6}a=\n")
    (code / "powershell.txt").write_bytes(PRIVATE.encode("utf-16"))
    fill(code, "chain.crt", content=CERTIFICATE * 40)
    fill(code, "test_keys.py", "fixture.h", content=PRIVATE)  # code that cannot run without it
    assert names(source.read(code)) == {"a.py", "chain.crt", "test_keys.py", "fixture.h"}


def test_copies_of_files_with_passwords_are_not_sent(code: Path) -> None:
    fill(code, ".netrc~", ".netrc.bak", ".env-prod", ".env_local", "kaggle.json.1", "ana_credentials.csv")
    fill(code, "prod.env.old", content="API_TOKEN=abcdefghijkl\n")
    fill(code, ".env-example", ".env_sample", "sizes.env.old", content="LR=0.1\n")
    assert names(source.read(code)) == {"a.py", ".env-example", ".env_sample", "sizes.env.old"}


def test_a_credential_is_sent_only_if_the_job_names_it(code: Path) -> None:
    fill(code, ".env", "sub/.env")
    read = source.read(code, scope=Scope(send_credentials=(".env",)))
    assert names(read) == {"a.py", ".env"}
    assert any(".env will be readable on the host" in note for note in read.notes)
    with pytest.raises(UsageError, match=r"send_credentials: there is no file \.envv"):
        source.read(code, scope=Scope(send_credentials=(".envv",)))


def test_the_patch_of_a_run_contains_no_credential(code: Path) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n"
    fill(code, ".env", "gone/.netrc", content="TOKEN=secret\n")
    fill(code, "old.txt", content=key)
    git(code, "init", "-q")
    git(code, "add", "-A")
    git(code, "commit", "-qm", "x")
    fill(code, ".env", content="TOKEN=secret2\n")
    fill(code, "a.py", content="print(2)\n")
    (code / "gone" / ".netrc").unlink()
    (code / "old.txt").unlink()
    read = source.read(code)
    assert "+print(2)" in read.patch
    assert "secret" not in read.patch


def test_the_home_its_parents_and_system_folders_are_no_code(code: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(code)
    for folder, home in ((code, code), (link, code), (tmp_path, code), (code, link)):
        with pytest.raises(UsageError, match="your home"):
            source.read(folder, scope=Scope(home=home))
    keys = tmp_path / ".config" / "gcloud" / "logs"
    fill(keys, "x.py")
    with pytest.raises(UsageError, match="a folder of credentials"):
        source.read(keys)
    for system in ("/", "/etc", "/usr/../tmp"):
        with pytest.raises(UsageError, match="a system folder is not sent"):
            source.read(Path(system))
    assert names(source.read(code, scope=Scope(home=tmp_path))) == {"a.py"}


def test_the_job_extends_what_is_left_out_with_patterns(code: Path) -> None:
    fill(code, "big/a.bin", "b.bin", "keep/b.bin", ".env")
    read = source.read(code, scope=Scope(exclude=("/big/", "*.bin", "!keep/*.bin", ".env")))
    assert names(read) == {"a.py", "keep/b.bin"}
    assert read.notes == ()


def test_the_state_and_runs_of_gpujob_are_no_code(code: Path) -> None:
    fill(code, "state/gpujob/gpujob.log", "runs/code/x", "runs2")
    read = source.read(code, scope=Scope(own=(code / "state" / "gpujob", code / "runs", code.parent)))
    assert names(read) == {"a.py", "runs2"}


def test_the_file_that_output_is_redirected_to_is_no_code(code: Path) -> None:
    fill(code, "deploy.log")
    status = (code / "deploy.log").stat()
    scope = Scope(outputs=frozenset([(status.st_dev, status.st_ino)]))
    git(code, "init", "-q")
    git(code, "add", "a.py")
    git(code, "commit", "-qm", "x")
    read = source.read(code, scope=scope)
    assert names(read) == {"a.py"}
    assert not read.dirty


def test_large_code_names_its_ten_largest_files(code: Path) -> None:
    for number in range(12):
        with (code / f"{number:02d}.bin").open("wb") as file:
            file.truncate((number + 1) << 20)
    (note,) = source.read(code).notes
    assert note.startswith("the code has 13 files, 78.0 MiB; the largest: 11.bin (12.0 MiB), 10.bin")
    assert note.count("MiB)") == 10


@pytest.mark.parametrize("target", ["data/x", "data", "via/x", ".git/annex/objects/k", "sub/../.env"])
def test_a_link_to_a_file_that_is_not_sent_is_refused_by_name(code: Path, target: str) -> None:
    fill(code, "data/x", ".env", ".git/annex/objects/k")
    fill(code, ".gitignore", content="/data/\n")
    (code / "via").symlink_to("data")
    (code / "link").symlink_to(target)
    (code / ("via" if target != "via/x" else "none")).unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"(link|via) is a link to .*, which is not sent") as error:
        source.read(code)
    assert "exclude: [" in error.value.next_step


def test_a_link_to_an_annexed_file_without_content_is_refused(code: Path) -> None:
    (code / "link").symlink_to(".git/annex/objects/missing")
    with pytest.raises(UsageError, match="link is a link to") as error:
        source.read(code)
    assert error.value.next_step.startswith("git annex unlock")


def test_links_within_the_code_are_sent_and_broken_ones_are_named(code: Path) -> None:
    fill(code, "sub/deep/x")
    for name, target in (("l1", "sub"), ("l2", "l1/deep/x"), ("l3", "./a.py"), ("sub/up", "..")):
        (code / name).symlink_to(target)
    assert source.read(code).notes == ()
    (code / "loop").symlink_to("loop")
    (code / "gone").symlink_to("nothing")
    (code / ".#a.py").symlink_to("ana@host.123:456")  # the lock of an editor
    read = source.read(code)
    assert {"gone", "loop", "l2"} <= names(read)
    assert read.notes == ("links in the code that lead nowhere: gone, loop",)


TOKEN = "hf_" + "aB3dE5gH7j" * 3 + "kLmN"


def test_tokens_and_passwords_in_settings_are_recognised_by_content(code: Path) -> None:
    secrets = {
        "prod.env": "LR=0.1\nexport DB_PASSWORD='hunter2-hunter2'\n",
        "conf/wandb.yaml": f"project: x\nkey: {TOKEN}\n",
        "deploy.sh": 'export AWS_SECRET_ACCESS_KEY="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"\n',
        "chat.toml": f'url = "https://{"hooks.slack.com"}/services/T0/B0/x"\n',
        "remote.ini": f"secret_access_key = {'wJalr/XUtn' * 4}\n",
        "azure.txt": f"AccountName=a;AccountKey={'Eby8vdM02x' * 8}==;\n",
        "token.json": '{"client_id": "x", "refresh_token": "1//09aBcDeFgHiJkLmNoPqRsTuV"}\n',
    }
    harmless = {
        "sizes.env": "LR=0.1\nPAD_TOKEN=<pad>\nSECRET=${SECRET}\n",
        "model.yaml": "token: eos\nname: sk-learn-style-estimator-with-a-long-name\n",
        "tokenizer.json": '{"eos_token": "<|endoftext|>", "hf_hub": "hf_internal_testing"}',
        "notes.txt": "set AWS_SECRET_ACCESS_KEY=... first",
        "flow.yaml": "refresh_token: ${REFRESH_TOKEN}\nsecret_access_key: $SECRET\n",
    }
    for name, content in {**secrets, **harmless}.items():
        fill(code, name, content=content)
    read = source.read(code)
    assert names(read) == {"a.py", *harmless}
    assert all(scope.is_credential(code, name) for name in secrets)


@pytest.mark.parametrize(
    "name",
    [
        ".databrickscfg",
        ".huggingface/token",
        "secrets.yaml",
        "token.pickle",
        ".modal.toml",
        ".cargo/credentials",
        ".dvc/config.local",
        "prod.tfvars",
        ".vault_pass.txt",
        "client_secrets.json",
        ".some-tool/.credentials.json",
        ".ivy2/.credentials",
        ".mysql_history",
        ".local/share/fish/fish_history",
        ".cdsapirc",
        ".modelscope/credentials/session",
        ".determined/auth.json",
    ],
)
def test_files_in_which_programs_keep_their_tokens_are_recognised(name: str) -> None:
    assert credentials.has_credential_name(f"sub/{name}")


def test_names_of_credentials_are_told_from_similar_ones() -> None:
    for name in (
        ".env.sample",
        "environment.py",
        "credentials.py",
        "ssh",
        ".sshx/a",
        ".dvc/config",
        "prod.tfvars.example",
        "loss_history",
        "vault_passes.py",
        "my.netrc.txt",
        "key.py",
    ):
        assert not credentials.has_credential_name(name), name


def test_pointers_of_git_lfs_are_announced(code: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    fill(code, "model.bin", "sub/model.bin", content=pointer)
    assert source.read(code).notes == ()
    fill(code, ".gitattributes", content="*.bin filter=lfs diff=lfs merge=lfs -text\n")
    fill(code, "real.bin", content="x" * 100)
    (note,) = source.read(code).notes
    assert note.startswith("Git LFS pointers instead of files: model.bin, sub/model.bin (git lfs pull")


def test_code_with_a_token_is_sent_with_a_warning_that_names_its_line(code: Path) -> None:
    token = "hf_" + "".join(chr(97 + number % 26) for number in range(34))
    (code / "train.py").write_text(f"import os\nlogin('{token}')\n")
    (code / "weights.csv").write_text(token)
    read = source.read(code)
    assert {"train.py", "weights.csv"} <= names(read)
    (note,) = read.notes
    assert "train.py:2 a Hugging Face token" in note
    assert token not in note
    assert source.read(code, scope=Scope(send_credentials=("train.py",))).notes[0].startswith("send_cred")
