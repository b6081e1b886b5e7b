"""Image sets on object storage, named like paths: s3://bucket/set, gs://bucket/set, file:///folder.

pathlib makes one slash of two, so `Path("s3://bucket/set")` arrives here as `s3:/bucket/set`; both mean the same.
Reading goes through fsspec, and credentials come from where its implementations look for them (for S3 the variables
and files of AWS's own tools; `AWS_ENDPOINT_URL` names another server).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from synthrelease.errors import ScanError, StoreError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")  # two letters or more: C:/ is a disk


def address_of(place: Path) -> str | None:
    """Return the URL that a path stands for; None for a folder of this machine."""
    match = _ADDRESS.fullmatch(place.as_posix())
    if match is None or place.exists():
        return None
    scheme, rest = match.groups()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"


def read_text(place: Path) -> str:
    """Return a file's text, line ends as they are; lone surrogates stand for names that are no valid Unicode.

    Raises:
        OSError: The file is not there.
        StoreError: The storage cannot be reached.
    """
    url = address_of(place)
    if url is None:
        return place.read_bytes().decode("utf-8", "surrogatepass")
    with _reached(url) as file:
        content: bytes = file.read()
    return content.decode("utf-8", "surrogatepass")


def is_file(place: Path) -> bool:
    """Say whether a file is there.

    Raises:
        StoreError: The storage cannot be reached.
    """
    url = address_of(place)
    if url is None:
        return place.is_file()
    try:
        with _reached(url):
            return True
    except FileNotFoundError:
        return False


def absolute(place: Path) -> Path:
    """Return a path that means the same from any folder; a URL does as it is."""
    return place if address_of(place) is not None else place.resolve()


def refuse_writing(place: Path) -> None:
    """Raise where results would be written to a folder that is called like a URL."""
    url = address_of(place)
    if url is not None and not url.startswith("file:"):
        raise StoreError(
            f"Results cannot be written to {url}.",
            "Write them to a folder; an image set can be copied there afterwards, for example with `aws s3 sync`.",
        )


def _reached(url: str) -> Any:
    import fsspec

    try:
        return fsspec.open(url, "rb").open()
    except (FileNotFoundError, IsADirectoryError):
        raise
    except ImportError as error:
        raise StoreError(f"Reading {url} needs another package: {error}.", "Install synthrelease[s3].") from error
    except ValueError as error:
        raise ScanError(f"{url} is no place that can be read: {error}.", "Write s3://, gs:// or file://.") from error
    except Exception as error:  # every storage has errors of its own
        raise StoreError(
            f"{url} cannot be reached: {type(error).__name__}: {error}.",
            "Check the name, the network and the credentials; for S3 the variables AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, or ~/.aws.",
        ) from error
