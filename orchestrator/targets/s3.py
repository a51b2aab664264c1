"""Lets a host download data from S3 (orchestrator/onhost/s3_data.py)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count
from orchestrator.core.s3 import Listing
from orchestrator.targets.helper import Asks


class S3Download(msgspec.Struct, frozen=True):
    """`downloaded` and `linked`: numbers of files; `by_size`: those verified by their size alone."""

    downloaded: Count = 0
    linked: Count = 0
    by_size: Count = 0


def fetch(host: Asks, name: str, listing: Listing, secrets: Mapping[str, str]) -> S3Download:
    """Downloads what the host lacks of data in S3. Raises Refused; repeated, it continues."""
    place, settings = listing.place, listing.settings
    source = {
        "bucket": place.bucket,
        "prefix": place.prefix,
        "endpoint": settings.endpoint,
        "region": settings.region,
        "credentials": settings.credentials,
    }
    answer = host.ask(
        "fetch_s3",
        name=name,
        fingerprint=listing.fingerprint,
        source=source,
        objects=[list(one) for one in listing.objects],
        sizes_only=listing.sizes_only,
        is_file=listing.is_file,
        secrets=dict(secrets),
    )
    return decode.struct(answer, S3Download) or S3Download()
