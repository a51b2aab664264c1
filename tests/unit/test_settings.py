import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.settings_files import DEFAULTS, Layer, from_aws_profile, from_environment, resolve
from tests.support import new_client

values = st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(min_size=1))


@given(st.lists(values, max_size=4))
def test_the_setting_of_the_highest_layer_is_used_and_its_source_named(layers: list[dict[str, str]]) -> None:
    named = [Layer(str(n), layer) for n, layer in enumerate(layers)]
    for key, setting in resolve(named).items():
        saying = [layer for layer in named if key in layer.values]
        assert setting.source == (saying[0].source if saying else "default")
        assert setting.value == (saying[0].values[key] if saying else DEFAULTS[key])


def test_an_environment_variable_is_a_layer_of_its_own() -> None:
    settings = resolve([*from_environment({"GPUJOB_TARGET": "local", "GPUJOB_ROOT": ""})])
    assert settings["target"].source == "$GPUJOB_TARGET"
    assert settings["root"].source == "default"


def test_an_unknown_setting_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match="unknown setting 'targt'") as error:
        resolve([Layer("gpujob.yaml", {"targt": "x"})])
    assert "target" in error.value.why


@pytest.mark.parametrize(
    ("text", "profile", "region"),
    [
        ("[default]\nregion = eu-west-1\n", "default", "eu-west-1"),
        ("[default]\nregion=eu-west-1\n[profile lab]\nregion = ap-south-1\n", "lab", "ap-south-1"),
        ("[profile lab]\noutput = json\n", "lab", None),
        ("[default]\nregion = eu-west-1\n", "lab", None),
        ("no config\n", "default", None),
        ("[default]\nregion = %(x)s\n", "default", "%(x)s"),
    ],
)
def test_the_region_of_the_aws_profile_is_read(text: str, profile: str, region: str | None) -> None:
    layers = from_aws_profile(text, profile, "~/.aws/config")
    assert [layer.values["region"] for layer in layers] == ([region] if region else [])


def test_a_region_is_taken_from_ours_before_aws_and_its_profile() -> None:
    with new_client() as client:
        (client.home / ".aws").mkdir()
        (client.home / ".aws" / "config").write_text("[profile lab]\nregion = eu-south-1\n")

        def shown() -> tuple[str, str]:
            region = client.run("config", "show", "--json").json["settings"]["region"]
            return region["value"], region["source"]

        assert shown() == ("us-east-1", "default")
        client.env["AWS_PROFILE"] = "lab"
        assert (shown()[0], "[profile lab]" in shown()[1]) == ("eu-south-1", True)
        client.env["AWS_REGION"] = "eu-west-1"
        assert shown() == ("eu-west-1", "$AWS_REGION")
        client.write("gpujob.yaml", "region: eu-north-1\n")
        assert shown()[0] == "eu-north-1"
        client.env["GPUJOB_REGION"] = "sa-east-1"
        assert shown()[0] == "sa-east-1"
