import json

import pytest

from docs import job_schema
from orchestrator.core import shell, spec
from orchestrator.errors import UsageError
from tests.support import REPOSITORY

GOOD = "name: mine\ncommand: [python, train.py]\n"


def refused(text: str, **more: object) -> UsageError:
    with pytest.raises(UsageError) as error:
        spec.parse(text, "mine.yaml", **more)  # type: ignore[arg-type]
    return error.value


def test_an_unknown_key_is_refused_with_file_line_and_a_guess() -> None:
    error = refused(GOOD + "limits:\n  max_hour: 3\n")
    assert error.what == "mine.yaml:4: unknown key 'limits.max_hour', did you mean 'max_hours'?"
    assert error.exit_code == 2


def test_all_unknown_keys_are_named_at_once() -> None:
    error = refused(GOOD + "trainr: x\nlimit: {}\n")
    assert "trainr" in error.what
    assert "'limit'" in error.why


def test_a_wrong_type_is_refused_with_file_line_and_key() -> None:
    error = refused(GOOD + "restart:\n  max: often\n")
    assert error.what.startswith("mine.yaml:4: restart.max: expected a whole number")


def test_a_job_has_a_trainer_or_a_command_and_not_both() -> None:
    neither, both = refused("name: a\n"), refused(GOOD + "trainer: x\n")
    assert "no command and no trainer" in neither.what
    assert neither.next_step.startswith("add a line: command: [")
    assert "a trainer and a command" in both.what
    assert both.next_step == "keep one of the two"


@pytest.mark.parametrize("outputs", ["[../x]", "[/etc]", "['']"])
def test_an_output_outside_the_working_folder_is_refused_before_the_run(outputs: str) -> None:
    assert "leads out" in refused(GOOD + f"outputs: {outputs}").what


def test_data_names_that_would_share_a_variable_are_refused() -> None:
    assert "the same name" in refused(GOOD + "data: {a-b: x, a_b: y}").what


def test_a_command_written_as_text_is_a_shell_script() -> None:
    block = spec.parse("name: a\ncommand: |\n  cd src\n  python train.py | tee out\n", "mine.yaml").spec
    assert block.command == shell.script_words("cd src\npython train.py | tee out\n", "command")
    assert shell.script_in(block.command) == "cd src\npython train.py | tee out\n"
    line = spec.parse("name: a\ncommand: python train.py\n", "mine.yaml").spec
    assert line.command
    assert shell.script_in(line.command) == "python train.py"
    assert shell.script_in(["bash", "-c", "python train.py"]) is None


def test_an_empty_or_huge_script_is_refused_with_its_line() -> None:
    assert refused("name: a\ncommand: ''\n").what.startswith("mine.yaml:2: command")
    error = refused(f"name: a\ncommand: {'x' * 100_001}\n")
    assert error.what == "mine.yaml:2: command is too long"


def test_a_variable_is_the_text_that_the_job_file_has() -> None:
    text = "env:\n  vars: {A: 010, B: yes, C: 1e-3, D: '', E: 12:30, F: 'a: b'}\n"
    job = spec.parse(GOOD + text, "mine.yaml", [("env.vars.B", "1_000"), ("env.vars.F", "null")])
    assert job.spec.env.vars == {"A": "010", "B": "1_000", "C": "1e-3", "D": "", "E": "12:30"}
    assert not job.notes
    error = refused(GOOD + "env:\n  vars:\n    A:\n")
    assert error.what == "mine.yaml:5: env.vars.A has no text as its value"
    assert "pass_env: [A]" in error.next_step


def test_a_file_that_refers_to_itself_is_refused() -> None:
    assert refused("name: a\nconfig: &c {x: *c}\ncommand: [x]\n").exit_code == 2


@pytest.mark.parametrize("name", ["a b", "../x", "", "-a", "a" * 41, "é"])
def test_a_name_that_cannot_name_files_and_sessions_is_refused(name: str) -> None:
    assert refused(f"name: {json.dumps(name)}\ncommand: [x]\n").exit_code == 2


def test_set_overrides_a_nested_value_and_is_named_as_its_source() -> None:
    job = spec.parse(
        GOOD + "config: {lr: 1}\n", "mine.yaml", [("config.lr", "3e-4"), ("config.deep.x", "[1, 2]")]
    )
    assert job.spec.config == {"lr": 3e-4, "deep": {"x": [1, 2]}}
    assert job.where("config", "lr") == "--set"


def test_set_null_removes_a_key() -> None:
    job = spec.parse(GOOD + "data: {a: x, b: y}\n", "mine.yaml", [("data.b", "null")])
    assert job.spec.data == {"a": "x"}


def test_set_of_an_option_without_its_section_names_the_section() -> None:
    assert "config.epochs" in refused(GOOD, overrides=[("epochs", "3")]).next_step


def test_set_of_a_wrong_type_is_blamed_on_the_flag() -> None:
    assert refused(GOOD, overrides=[("limits.max_hours", "soon")]).what.startswith("--set: limits.max_hours")


@pytest.mark.parametrize(
    "more",
    [
        "limits: {max_hours: 0}",
        "limits: {max_hours: .inf}",
        "limits: {budget_usd: 0}",
        "restart: {max: -1}",
        "resources: {gpus: -1}",
    ],
)
def test_numbers_out_of_bounds_are_refused(more: str) -> None:
    assert "must be" in refused(GOOD + more).what


def test_the_editor_schema_is_the_one_used_for_validation() -> None:
    stored = json.loads((REPOSITORY / "jobs" / "job.schema.json").read_text())
    assert stored == job_schema.json_schema()


def test_the_template_of_init_is_a_job_that_passes() -> None:
    text = (REPOSITORY / "templates" / "job.yaml").read_text()
    text = text.replace("@NAME@", "mine").replace("@COMMAND@", '["python", "x.py"]')
    assert spec.parse(text, "mine.yaml").spec.name == "mine"
    uncommented = "\n".join(
        line.removeprefix("# ")
        if line.startswith(("# env", "# limits", "#   ", "# restart", "# setup", "# pass_env", "# notify"))
        else line
        for line in text.splitlines()
        if '"v": 1' not in line
    )
    assert spec.parse(uncommented, "mine.yaml").spec.limits.max_hours == 12


def test_ambiguous_values_of_a_job_file_are_named_with_their_line() -> None:
    text = "name: j\ncommand: [a]\nresources: {ec2: {spot: yes}}\nconfig:\n  at: 12:30:00\n  lang: no\n"
    file = spec.parse(text, "j.yaml")
    assert file.spec.config == {"at": "12:30:00", "lang": False}
    assert [note.partition(";")[0] for note in file.notes] == [
        "j.yaml:5: 12:30:00 is read as text",
        "j.yaml:6: no is read as false",
    ]


def test_a_number_in_the_command_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(UsageError, match=r"j\.yaml:2: command\.2: expected text") as error:
        spec.parse("name: j\ncommand: [python, x.py, 10]\n", "j.yaml")
    assert '"10"' in error.value.next_step


def test_every_key_of_the_editor_schema_has_a_description() -> None:
    definitions = job_schema.json_schema()["$defs"]
    keys = {f"{name}.{key}" for name, one in definitions.items() for key in one["properties"]}
    assert keys | set(definitions) == set(job_schema.DESCRIPTIONS)
    assert max(map(len, job_schema.DESCRIPTIONS.values())) < 220  # editors show it beside the key
