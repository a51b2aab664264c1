"""Verifies a file by the ETag of its object in S3: the MD5 of the content, or of the MD5s of its parts."""

from __future__ import annotations

import hashlib
import os
import re

from orchestrator.onhost.files import open_regular

_MIB = 1 << 20
_BLOCK = 1 << 20
_PLAIN = re.compile(r"[0-9a-f]{32}\Z")
_PARTS = re.compile(r"[0-9a-f]{32}-([0-9]{1,5})\Z")
# Sizes of the parts that the common tools upload, in MiB: AWS CLI 8, s5cmd 50, rclone 5, Hadoop 64 and 128, …
_COMMON = (5, 6, 7, 8, 10, 15, 16, 20, 25, 32, 40, 48, 50, 60, 64, 80, 96, 100, 120, 128, 200, 250, 256, 500)
_LARGE = (512, 1000, 1024, 2048, 4096, 5120)


def matches(path: str, size: int, etag: str) -> bool | None:
    """Whether a file has the size and the ETag of an object; None if the size is right and the ETag of no
    known kind, so that it says nothing."""
    if os.stat(path).st_size != size:
        return False
    if _PLAIN.match(etag):
        return _md5(path) == etag
    parts = _PARTS.match(etag)
    if not parts:
        return None
    # The size of the parts is not in the ETag. What matches is verified; what does not may be of other parts.
    return any(of_parts(path, size_) == etag for size_ in part_sizes(size, int(parts[1]))) or None


def part_sizes(size: int, count: int) -> list[int]:
    """Returns the sizes of parts in bytes that give so many parts, common ones first."""
    every = [mib * _MIB for mib in (*_COMMON, *_LARGE)] + [mb * 10**6 for mb in (5, 8, 10, 16, 50, 64, 100)]
    exact = -(-size // count) if count else 0
    every += [exact, -(-exact // _MIB) * _MIB]  # tools that enlarge the parts of a very large file
    return list(dict.fromkeys(one for one in every if one > 0 and max(1, -(-size // one)) == count))


def of_parts(path: str, part: int) -> str:
    """Returns the ETag of a file that was uploaded in parts of `part` bytes."""
    digests: list[bytes] = []
    with open_regular(path) as handle:
        while True:
            digest, left = hashlib.md5(), part
            while left:
                block = handle.read(min(_BLOCK, left))
                if not block:
                    break
                digest.update(block)
                left -= len(block)
            if left == part and digests:
                break
            digests.append(digest.digest())
            if left:
                break
    return "%s-%d" % (hashlib.md5(b"".join(digests)).hexdigest(), len(digests))


def of(path: str, part: int) -> str:
    """Returns the ETag of a file that a tool uploads in parts of `part` bytes, where it has more than one."""
    return _md5(path) if os.stat(path).st_size <= part else of_parts(path, part)


def _md5(path: str) -> str:
    digest = hashlib.md5()
    with open_regular(path) as handle:
        for block in iter(lambda: handle.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
