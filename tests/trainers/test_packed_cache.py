"""The packed cache: keyed by content, complete or absent, continued after an interruption, never misread."""

import errno
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sign_runs as runs

from trainers.data import packed
from trainers.data.packed import Encoded, Shard, Source
from trainers.data.refusal import Unread, Unusable, read_or_stop
from trainers.engine.events import Silent

OLD_PACKED_FOLDER = Path(__file__).parents[1] / "fixtures" / "sign" / "packed-folder.tar.xz"
"""What `prepare --phoenix` of version 1 wrote of four sentences, one of them broken."""


@dataclass(frozen=True)
class Row(packed.Row):
    words: int


class Counting(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[object] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.steps.append(fields["step"])


def encode(source: Source) -> Encoded:
    with read_or_stop(source.path):
        text = Path(source.path).read_text()
    if not text:
        raise Unusable("is empty", "0 bytes", "schema.keys")
    return Encoded(text.upper().encode(), {"words": len(text.split())})


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        (folder / f"t{number:02d}").write_text(f"text number {number}")
    (folder / "t07").write_text("")
    return folder


def shards(texts: Path, root: Path, size: int = 8) -> tuple[Shard, ...]:
    sources = [Source.of(path.name, path) for path in sorted(texts.iterdir())]
    return packed.shards(root, "upper case", sources, size)


def opened(parts: tuple[Shard, ...], read=encode, events=None) -> packed.Cache[Row]:
    folders = packed.ensure(parts, Row, packed.build_here(read), events or Silent())
    return packed.Cache(folders, Row)


def test_records_are_read_back_with_their_fields_and_refusals(texts, tmp_path):
    cache = opened(shards(texts, tmp_path / "cache"))
    assert len(cache.folders) == 8
    assert cache.content("t05").tobytes() == b"TEXT NUMBER 5"
    assert cache.rows["t05"].words == 3
    assert {id: fault.reason for id, fault in cache.refused.items()} == {"t07": "is empty"}
    assert cache.damaged() == {}


def test_a_complete_cache_is_opened_without_reading_a_source(texts, tmp_path):
    events = Counting()
    opened(shards(texts, tmp_path / "cache"), events=events)
    assert events.steps == [40]
    opened(shards(texts, tmp_path / "cache"), read=lambda source: pytest.fail("read twice"), events=events)
    assert events.steps == [40]


def test_an_interrupted_build_continues_with_the_missing_shards(texts, tmp_path):
    parts, read = shards(texts, tmp_path / "cache"), []

    def interrupted(source: Source) -> Encoded:
        read.append(source.id)
        if len(read) == 20:
            raise KeyboardInterrupt
        return encode(source)

    with pytest.raises(KeyboardInterrupt):
        opened(parts, interrupted)
    complete = sum(len(shard.sources) for shard in parts if packed.is_complete(shard.folder, Row))
    assert 0 < complete < 20
    assert len(list((tmp_path / "cache").iterdir())) == sum(packed.is_complete(s.folder) for s in parts)
    again: list[str] = []
    opened(parts, lambda source: again.append(source.id) or encode(source))
    assert len(again) == 40 - complete


def test_a_changed_file_rebuilds_its_own_shard_only(texts, tmp_path):
    before = {shard.folder for shard in shards(texts, tmp_path)}
    (texts / "t11").write_text("another text")
    assert len({shard.folder for shard in shards(texts, tmp_path)} - before) == 1
    other = packed.shards(tmp_path, "other", shards(texts, tmp_path)[0].sources)
    assert not before & {shard.folder for shard in other}


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_an_error_of_the_system_is_no_verdict_on_a_file(fault, texts, tmp_path):
    def failing(source: Source) -> Encoded:
        with read_or_stop(source.path):
            raise fault

    (shard,) = shards(texts, tmp_path / "cache", 64)
    with pytest.raises(Unread, match="t00 could not be read"):
        opened((shard,), failing)
    assert list((tmp_path / "cache").iterdir()) == []
    assert "t00" in opened((shard,)).rows


def test_a_file_deleted_before_it_is_read_is_named(tmp_path):
    with pytest.raises(Unread, match="gone could not be read: No such file"):
        Source.of("gone", tmp_path / "gone")


def test_a_changed_byte_is_found_and_a_cut_shard_is_built_again(texts, tmp_path):
    (shard,) = shards(texts, tmp_path / "cache", 64)
    cache = opened((shard,))
    records = shard.folder / packed.RECORDS
    content = records.read_bytes()
    records.write_bytes(b"?" + content[1:])
    assert packed.Cache([shard.folder], Row).damaged() == {"t00": shard.folder}
    records.write_bytes(content[:-1])
    assert opened((shard,)).damaged() == {}
    assert cache.content("t00").tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: {**index, "schema": 1},
        lambda index: {**index, "rows": [{**row, "words": row["words"], "more": 1} for row in index["rows"]]},
        lambda index: {**index, "rows": index["rows"][1:]},
        lambda index: {**index, "rows": 7},
        lambda index: {"schema": 2},
        lambda index: [],
    ],
)
def test_an_index_of_another_form_is_never_opened(change, texts, tmp_path):
    (shard,) = shards(texts, tmp_path / "cache", 64)
    opened((shard,))
    index = shard.folder / packed.INDEX
    index.write_text(json.dumps(change(json.loads(index.read_text()))))
    with pytest.raises(packed.Incomplete):
        packed.Cache([shard.folder], Row)
    assert len(opened((shard,)).rows) == 39


def test_of_two_builds_at_once_the_first_stays(texts, tmp_path):
    (shard,) = shards(texts, tmp_path / "cache", 64)

    def slow(source: Source) -> Encoded:
        if source.id == "t39":
            opened((shard,))
            os.utime(shard.folder / packed.INDEX, (1, 1))
        return encode(source)

    packed.write(shard.folder, shard.sources, slow)
    assert (shard.folder / packed.INDEX).stat().st_mtime == 1
    assert [path.name for path in shard.folder.parent.iterdir()] == [shard.folder.name]


def test_a_folder_that_was_packed_before_version_2_is_read(tmp_path):
    with tarfile.open(OLD_PACKED_FOLDER) as tar:
        tar.extractall(tmp_path / "data", filter="data")
    task = runs.opened("i3d-teacher", tmp_path / "data", tmp_path / "w")
    assert task.fingerprint == "5d248569206df0dceb7fcc5b7ed6a818ded7a2d8b56f1ec89f9cd91ed3ce1517"
    assert task.data.cache.damaged() == {}
    assert [refusal.why for refusal in task.data.listing.refused] == [
        "the features are not (T, 6516) or (T, 1629): they are (9, 7)"
    ]
    raw = task.data.cache.raw("c")
    assert np.array_equal(raw[:, 3], (np.arange(11) / 16 + 3 / 8).astype(np.float16))
