"""Reads tables as people write them: CSV files of any common dialect. Standard library only.

Accepted: gzip, a byte order mark, UTF-16 with one, commas, semicolons or tabs, blank lines, spaces around
cells; before the header comments (`#`) and Excel's `sep=;`.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DELIMITERS = ",;\t"

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""What the name of a table ends with, in any case."""

GZIP, LARGEST = b"\x1f\x8b", 1 << 30
"""How a file of gzip begins, and the most bytes that are read of its content."""

ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
"""How a zip file begins, which an .xlsx, an .ods and a .npz are too, and how an .xls does."""

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
"""Characters without width, which copying from web pages and joining files leave."""


class BadTable(ValueError):
    """A table cannot be read; the message names file, line and fault."""


@dataclass(frozen=True)
class CSVTable:
    """The header's names without spaces around, and each line that is not blank, with its number."""

    path: Path
    columns: tuple[str, ...]
    lines: tuple[tuple[int, Sequence[str]], ...]

    def require(self, *columns: str) -> None:
        """Raise BadTable unless the table has these columns."""
        if missing := [name for name in columns if name not in self.columns]:
            raise BadTable(
                f"{self.path}:1: there is no column {' and '.join(missing)}; it has {', '.join(self.columns)}"
            )

    def rows(self) -> list[tuple[int, dict[str, str]]]:
        """Each line's number and its cells by column.

        Raises BadTable for a line of another length, if two columns have the same name, and without lines.
        """
        if twice := [name for name, count in Counter(self.columns).items() if name and count > 1]:
            raise BadTable(f"{self.path}:1 names the column {twice[0]} twice")
        if not self.lines:
            raise BadTable(f"{self.path} holds the names of columns, and no line below them")
        result = []
        for number, cells in self.lines:
            if len(cells) != len(self.columns):
                raise BadTable(f"{self.path}:{number} has {len(cells)} cells, the header {len(self.columns)}")
            values = (cell.strip() for cell in cells)
            result.append((number, dict(zip(self.columns, values, strict=True))))
        return result


def find(folder: Path, name: str) -> Path:
    """The table `name` (such as `manifest.csv`) of a folder: in any case and with any of SUFFIXES.

    Returns `folder`/`name` if there is none. Raises BadTable if there are several, and OSError.
    """
    exact, stem = folder / name, name.rpartition(".")[0].lower()
    if exact.is_file() or not folder.is_dir():
        return exact
    names = {stem + suffix for suffix in SUFFIXES}
    present = sorted(path for path in folder.iterdir() if path.name.lower() in names and path.is_file())
    if len(present) > 1:
        raise BadTable(f"{folder} holds {' and '.join(path.name for path in present)}: keep one of them")
    return present[0] if present else exact


def read(path: Path, delimiters: Sequence[str] = DELIMITERS, errors: str = "strict") -> CSVTable:
    """Read a CSV file. Raises BadTable, also for an empty file, and OSError.

    The delimiter is the one of `delimiters` that is the commonest in the header. Cells may be in double
    quotes, but not between `|`, where a quote is a character as others. `errors` says what to do with bytes
    that are not UTF-8, as for `bytes.decode`.
    """
    text = _decoded(path, errors)
    if "\0" in text:
        raise BadTable(f"{path} holds bytes of zero: it is no text, or UTF-16 without a byte order mark")
    first = next((line for line in text.splitlines() if line.strip() and not _is_note(line)), "")
    delimiter = max(delimiters, key=first.count)
    lines_of = io.StringIO(text, newline="")
    if delimiter == "|":
        reader = csv.reader(lines_of, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines_of, delimiter=delimiter, skipinitialspace=True, strict=True)
    lines, end = [], 0
    try:
        for cells in reader:
            end = reader.line_num
            if any(cell.strip() for cell in cells):
                lines.append((end, cells))
    except csv.Error as fault:
        begins = f", in the cells that begin in line {end + 1}" if reader.line_num > end + 1 else ""
        raise BadTable(f"{path}:{reader.line_num}: {fault}{begins}") from fault
    while lines and _is_note(delimiter.join(lines[0][1])):
        del lines[0]
    if not lines:
        raise BadTable(f"{path} is empty")
    (_, columns), *rest = [(number, [_bare(cell) for cell in cells]) for number, cells in lines]
    return CSVTable(path, tuple(columns), tuple(rest))


def _is_note(line: str) -> bool:
    """Whether a line before the header is a comment, or Excel's line that names the delimiter."""
    return line.lstrip().startswith("#") or bool(re.fullmatch(r"\W*sep=.\W*", line.strip(), re.IGNORECASE))


def visible(text: str) -> str:
    """A text without INVISIBLE, which would make another word of a gloss or a name."""
    return text.translate(dict.fromkeys(map(ord, INVISIBLE)))


def _bare(cell: str) -> str:
    """A cell without the white space and invisible characters around it."""
    return cell.strip().strip(INVISIBLE).strip()


def _decoded(path: Path, errors: str) -> str:
    content = path.read_bytes()
    if content.startswith(GZIP):
        content = _unpacked(path, content)
    if content.startswith((ZIP, OLE)):
        raise BadTable(f"{path} is a workbook or an archive: save its sheet or file as CSV")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig", errors)
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise BadTable(f"{path}:{line} is not UTF-8: save the file as UTF-8") from fault


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise BadTable(f"{path} is no readable gzip file: {fault}") from fault
    if len(unpacked) > LARGEST:
        raise BadTable(f"{path} unpacks to more than {LARGEST >> 20} MiB")
    return unpacked
