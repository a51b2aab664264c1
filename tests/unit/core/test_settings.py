import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.settings import DEFAULTS, Layer, from_environment, resolve
from orchestrator.errors import UsageError

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
