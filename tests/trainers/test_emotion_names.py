"""File names of RAVDESS and CREMA-D, and splits by actor."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data import emotions, splits
from trainers.engine import health

ravdess = st.builds(
    emotions.Ravdess,
    modality=st.sampled_from(["01", "02", "03"]),
    vocal=st.sampled_from(["01", "02"]),
    emotion=st.sampled_from(sorted(emotions.RAVDESS_EMOTIONS)),
    intensity=st.sampled_from(["01", "02"]),
    statement=st.sampled_from(["01", "02"]),
    repetition=st.sampled_from(["01", "02"]),
    person=st.integers(1, 24).map("{:02d}".format),
).filter(lambda name: (name.emotion, name.intensity) != ("01", "02"))
crema = st.builds(
    emotions.Crema,
    person=st.integers(1001, 1091).map(str),
    sentence=st.sampled_from(emotions.CREMA_SENTENCES),
    emotion=st.sampled_from(sorted(emotions.CREMA_EMOTIONS)),
    level=st.sampled_from(["XX", "LO", "MD", "HI"]),
)


@given(ravdess | crema)
def test_every_name_is_read_and_written_the_same(name):
    assert emotions.parse(str(name)) == name


@given(st.text() | (ravdess | crema).map(lambda n: f"{n}x") | st.from_regex(r"(\d\d-){6}\d\d"))
def test_a_file_name_is_refused_or_survives_a_round_trip(text):
    with suppress(emotions.BadName):
        assert str(emotions.parse(text)) == text


@pytest.mark.parametrize(
    "stem",
    [
        "02-01-09-01-01-01-12",
        "02-01-01-02-01-01-12",
        "02-01-03-01-01-01-25",
        "02-01-03-01-01-01-00",
        "2-1-3-1-1-1-12",
        "1076_MTI_SURPRISED_XX",
        "1092_MTI_SAD_XX",
        "1000_MTI_SAD_XX",
        "1076_MTI_SAD_XX ",
        "1076_mti_sad_xx",
        "٠٢-01-03-01-01-01-12",
        "",
    ],
)
def test_a_name_that_is_nearly_right_is_refused(stem):
    with pytest.raises(emotions.BadName):
        emotions.parse(stem)


def test_both_sets_map_to_the_same_six_classes():
    assert set(emotions.CREMA_EMOTIONS.values()) == set(emotions.CLASSES)
    assert set(emotions.RAVDESS_EMOTIONS.values()) - {"calm", "surprised"} == set(emotions.CLASSES)
    codes = dict(zip(emotions.CLASSES, ["05", "07", "06", "03", "01", "04"], strict=True))
    assert all(emotions.RAVDESS_EMOTIONS[code] == name for name, code in codes.items())


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        ("1_Happiness", "happy"),
        ("train-sad", "sad"),
        ("not_happy", ""),
        ("Non-Angry", ""),
        ("happy or sad", ""),
    ],
)
def test_a_folder_means_the_emotion_that_it_names_and_does_not_deny(name, emotion):
    assert emotions.in_name(name) == emotion


def test_a_take_is_the_same_in_every_modality():
    first, second = (emotions.parse(f"0{m}-01-06-01-02-01-12") for m in (1, 2))
    assert first.take == second.take
    assert first.actor == "ravdess-12"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Signer05", "signer5"), ("12", "12.0"), ("007", "7"), (" A  b", "a B"), ("ü", "U\u0308")],
)
def test_spellings_of_one_group_have_one_key(one, other):
    assert health.group_key(one) == health.group_key(other)


@pytest.mark.parametrize(("one", "other"), [("1.5", "1.05"), ("10", "100"), ("a", "b"), ("0", "00a")])
def test_different_groups_have_different_keys(one, other):
    assert health.group_key(one) != health.group_key(other)


actors = st.dictionaries((ravdess | crema).map(lambda name: name.actor), st.sampled_from("abc"), min_size=1)
shares = st.floats(0, 0.45)


@given(actors, st.integers(0, 99), shares, shares)
def test_a_split_is_a_function_of_names_and_seed_alone(actors, seed, val, test):
    home = splits.by_actor(actors, seed, val, test)
    again = splits.by_actor(dict(reversed(actors.items())), seed, val, test)
    assert home == again
    assert home.keys() == actors.keys()
    assert set(home.values()) <= set(splits.SPLITS)


@given(st.integers(0, 99))
def test_every_stratum_gives_its_share(seed):
    actors = {f"{kind}{i}": kind for kind in "ab" for i in range(20)}
    home = splits.by_actor(actors, seed, 0.15, 0.15)
    for kind in "ab":
        mine = [split for actor, split in home.items() if actor.startswith(kind)]
        assert [mine.count(split) for split in splits.SPLITS] == [14, 3, 3]


def test_another_seed_is_another_split():
    actors = {f"a{i}": "a" for i in range(40)}
    homes = [splits.by_actor(actors, seed, 0.2, 0.2) for seed in range(3)]
    assert homes[0] != homes[1] != homes[2]
