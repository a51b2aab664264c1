"""Files in forms that programs and people really write: read as they are meant, or refused by name."""

import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_reading_rules import PLAIN, TRAINERS, Data

from trainers.blendshapes import config, files, names, pictures
from trainers.data import phoenix, tables
from trainers.data.refusal import Refusal, Unusable

Image = pytest.importorskip("PIL.Image")

HEADER = ",".join(("label", *names.ALL))
ROW = ",".join(("happy", *["0.25"] * 52))


def camel_to_snake(name: str) -> str:
    return name[:1] + "".join(f"_{c.lower()}" if c.isupper() else c for c in name[1:])


TABLES: dict[str, bytes] = {
    "row numbers of pandas": f",{HEADER}\n0,{ROW}\n".encode(),
    "row numbers read and written again": f"Unnamed: 0,{HEADER}\n0,{ROW}\n".encode(),
    "a comma at the end of each line": f"{HEADER},\n{ROW},\n".encode(),
    "Excel's name of the delimiter": ("sep=;\n" + f"{HEADER}\n{ROW}".replace(",", ";")).encode(),
    "comments before the header": f"# extracted, version 2\n#\n{HEADER}\n{ROW}\n".encode(),
    "line ends of old Macs": f"{HEADER}\r{ROW}\r".encode(),
    "all cells in quotes": (
        "\n".join(",".join(f'"{c}"' for c in t.split(",")) for t in (HEADER, ROW))
    ).encode(),
    "spaces before quotes": (
        "\n".join(", ".join(f'"{c}"' for c in t.split(",")) for t in (HEADER, ROW))
    ).encode(),
    "decimal commas in quotes": (
        "\n".join(",".join(f'"{c}"'.replace(".", ",") for c in t.split(",")) for t in (HEADER, ROW))
    ).encode(),
    "spaces after commas": f"{HEADER}\n{ROW}".replace(",", ", ").encode(),
    "UTF-16": f"{HEADER}\n{ROW}".encode("utf-16"),
    "capitals in the header": f"{HEADER.upper()}\n{ROW}".encode(),
    "snake case in the header": f"{','.join(map(camel_to_snake, HEADER.split(',')))}\n{ROW}".encode(),
    "a column Class": f"{HEADER}\n{ROW}".replace("label", "Class").encode(),
    "white space and marks around a label": f"{HEADER}\n{ROW}".replace(
        "happy", " \ufeff\u200bHappy\u00a0"
    ).encode(),
    "numbers with exponents": f"{HEADER}\n{ROW}".replace("0.25", "2.5E-01").encode(),
    "tabs": f"{HEADER}\n{ROW}".replace(",", "\t").encode(),
    "a form feed": f"{HEADER}\n\x0c\n{ROW}".encode(),
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_in_a_usual_form_is_the_same_row(form, tmp_path):
    (tmp_path / "faces.csv").write_bytes(TABLES[form])
    _, (row,) = files.read(tmp_path / "faces.csv", config.Config())
    assert not isinstance(row, Refusal), row
    assert (row.label, set(row.values)) == ("happy", {0.25})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00\x08", "faces.csv is a workbook or an archive"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "faces.csv is a workbook or an archive"),
        (f"{HEADER}\n{ROW}".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (f"{HEADER}\n{ROW}\n\xe9".encode("latin-1"), "faces.csv:3 is not UTF-8"),
        (b"\x1f\x8b\x08\x00compressed", "faces.csv is no readable gzip file"),
        (f"{HEADER},{HEADER}\n{ROW},{ROW}".encode(), "names a column twice"),
        (f"brow_down_left,{HEADER}\n0,{ROW}".encode(), "names a column twice: browDownLeft"),
        (b"# nothing but a comment\n", "is empty"),
    ],
)
def test_a_table_that_may_mean_something_else_is_refused(content, message, tmp_path):
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(Unusable, match=message):
        files.read(tmp_path / "faces.csv", config.Config())


def test_a_comment_after_the_header_is_a_row_that_is_refused_by_its_line(tmp_path):
    (tmp_path / "faces.csv").write_text(f"{HEADER}\n# half time\n{ROW}\n")
    _, (refusal, _) = files.read(tmp_path / "faces.csv", config.Config())
    assert (refusal.line, refusal.reason) == (2, "has not one value a column")


def test_a_table_of_tabs_may_have_the_suffix_tsv(tmp_path):
    (tmp_path / "train.tsv").write_text(f"{HEADER}\n{ROW}\n".replace(",", "\t"))
    assert len(files.scan({"": tmp_path}, config.Config()).rows) == 1


GREY = (np.arange(64 * 64).reshape(64, 64) // 16).astype(np.uint8)
COLOUR = Image.fromarray(np.stack([GREY, GREY.T, GREY[::-1]], 2))
PICTURES: dict[str, Callable[[Path], None]] = {
    "grey with transparency": lambda path: Image.fromarray(GREY).convert("LA").save(path, "PNG"),
    "CMYK": lambda path: COLOUR.convert("CMYK").save(path, "JPEG"),
    "a palette with a transparent colour": lambda path: COLOUR.convert("P").save(path, "PNG", transparency=3),
    "16-bit TIFF": lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path, "TIFF"),
    "numbers from 0 to 1": lambda path: Image.fromarray(GREY.astype(np.float32) / 255).save(path, "TIFF"),
    "one bit": lambda path: Image.fromarray(GREY).convert("1").save(path, "PNG"),
    "a GIF of one picture": lambda path: COLOUR.convert("P").save(path, "GIF"),
    "a JPEG called PNG": lambda path: COLOUR.save(path, "JPEG"),
    "Netpbm": lambda path: Image.fromarray(GREY).save(path, "PPM"),
}


@pytest.mark.parametrize("form", PICTURES)
def test_a_picture_in_a_usual_form_is_read_as_rgb(form, tmp_path):
    PICTURES[form](tmp_path / "x.png")
    values = pictures.read(tmp_path / "x.png")
    assert (values.shape, values.dtype) == ((64, 64, 3), np.uint8)
    assert 100 < values.mean() < 155
    assert values.max() > 200


def write_bomb(path: Path) -> None:
    content = bytearray()
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)),
        (b"IDAT", b""),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: COLOUR.save(path, "GIF", save_all=True, append_images=[COLOUR.rotate(90)]),
            "holds 2 pict",
        ),
        (
            lambda path: COLOUR.save(path, "PNG", save_all=True, append_images=[COLOUR.rotate(90)]),
            "holds 2 pict",
        ),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "broken|identify"),
        (lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "cannot identify"),
        (write_bomb, "decompression bomb"),
        (lambda path: Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path, "TIFF"), "holds NaN"),
    ],
    ids=["animated GIF", "animated PNG", "torn", "SVG", "bomb", "NaN"],
)
def test_what_is_no_single_picture_is_one_unreadable_file(write, message, tmp_path):
    write(tmp_path / "x.png")
    with pytest.raises(ValueError, match=message):
        pictures.read(tmp_path / "x.png")


def test_every_suffix_of_a_picture_is_found_in_any_case(tmp_path):
    folder = tmp_path / "train" / "happy"
    folder.mkdir(parents=True)
    for number, suffix in enumerate(pictures.SUFFIXES):
        (folder / f"{number}{suffix.upper() if number % 2 else suffix}").write_bytes(b"x")
    assert len(pictures.find(tmp_path).pictures) == len(pictures.SUFFIXES)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_links_in_a_circle_give_each_file_once(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    before = data.sizes()
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (data.files["train"][0].parent / "up").symlink_to("..")
    assert data.sizes() == before


@pytest.mark.parametrize("trainer", ["facenet-lstm", "slowfast", "blendshapes"])
def test_a_group_copied_into_another_split_is_refused(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    to = data.files["test"][0].parent
    for path in data.files["train"][:2]:
        if trainer == "blendshapes":
            shutil.copy(path, to / f"copy-{path.name}")
        else:
            path.rename(to / path.name)
    assert "are in more than one split" in data.errors()["split.groups"]


def test_a_signer_written_in_two_ways_is_one_signer(tmp_path):
    data = Data("i3d-teacher", tmp_path, PLAIN)
    for path, signer in (
        (tmp_path / "train.corpus.csv", "Signer05"),
        (tmp_path / "val.corpus.csv", "signer5"),
    ):
        split = path.name.partition(".")[0]
        path.with_name(f"{split}.SI5.corpus.csv").write_text(
            path.read_text().replace(f"Signer-{split}", signer)
        )
    (tmp_path / "test.corpus.csv").rename(tmp_path / "test.SI5.corpus.csv")
    errors = data.errors(protocol="si5")
    assert "1 signers are in more than one split: Signer05 = signer5" in errors["split.groups"]


@pytest.mark.parametrize("trainer", ["i3d-teacher", "mobilenet-v3"])
def test_a_sentence_listed_in_two_splits_is_refused(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    with (tmp_path / "test.corpus.csv").open("a") as file:
        file.write("train-0|x|Signer-test|REGEN\n")
    with pytest.raises(Exception, match="train-0 is in train and in test"):
        data.scan()


def test_two_forms_of_an_umlaut_are_one_gloss(tmp_path):
    for form in ("NFC", "NFD"):
        gloss = unicodedata.normalize(form, "MÖGLICH")
        (tmp_path / f"{form}.csv").write_text(f"id|folder|signer|annotation\n{form}|x|s|{gloss}\n")
    sentences = phoenix.read({"train": tmp_path / "NFC.csv", "val": tmp_path / "NFD.csv"})
    assert len({sentence.annotation for sentence in sentences}) == 1


@pytest.mark.parametrize("suffix", [".m4v", ".3GP", ".wmv", ".mpg", ".ogv", ".MTS", ".ts", ".f4v"])
def test_videos_of_phones_and_cameras_are_found(suffix, tmp_path):
    data = Data("slowfast", tmp_path, PLAIN)
    before = data.sizes()
    for path in data.files["train"]:
        path.rename(path.with_suffix(suffix))
    assert data.sizes() == before


def test_a_header_of_another_delimiter_than_its_comment_is_read(tmp_path):
    (tmp_path / "x.csv").write_text("# a, b, c, d\na;b\n1;2\n")
    assert tables.read(tmp_path / "x.csv").rows() == [(3, {"a": "1", "b": "2"})]
