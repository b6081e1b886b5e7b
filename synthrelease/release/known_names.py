"""Names of real patients, images, folders, users and machines, and how to tell them from words and numbers.

An id such as "12" or "T1" stands in every package for something else. So each name is looked for where it can only mean
itself:

- letters and digits, 6 characters or more (TCGA_CS_4941): anywhere, also inside other words;
- letters and digits, 4 or 5 characters (P001): as a whole word, anywhere;
- 6 digits or more: as a whole number, anywhere; 4 or 5 digits: as a whole number in what people wrote;
- up to 3 digits: in what people wrote, after a word such as "patient";
- letters alone, and anything else short: as a whole word in what people wrote.
"""

from __future__ import annotations

import getpass
import platform
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np

from synthrelease.release_records import Identities

GRAM = 6  # characters: the shortest name that is found inside other words
BYTES = 8  # of a name in pixels: six would turn up by chance in a large release
_WORD = re.compile(r"\w[\w.#-]*\w|\w")
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_OWN_FILES = re.compile(r"(?:images/)?(?:\d{3,6}/)?synthetic-\d{6,9}(?:-s\d{4,6})?_[a-z0-9-]+\.(?:nii\.gz|png|dcm)")
_BEFORE_NUMBER = r"\b(?:patient|subject|case|person|participant|volunteer|individual|record|id|no|nr|mrn)"
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PATHS = (
    re.compile(r"(?<![\w.:/<>)\]*~-])/(?:[\w.+@%-]+/)+[\w.+@%-]*"),
    re.compile(
        r"(?<![\w.:/<>)\]*-])/(?:home|users|root|mnt|media|data|srv|scratch|tmp|var|opt|work|volumes|nfs|gpfs|lustre"
        r"|projects?|cluster|proj|export)(?![\w-])"
    ),
    re.compile(r"(?<![a-z0-9])[a-z]:[\\/](?![/\\]?\s|/)[\w.$-]"),
    re.compile(r"\\\\[\w.$-]+\\[\w.$-]+"),
    re.compile(r"\bfile:/"),
)


class KnownNames:
    """Looks for real names in text and bytes."""

    def __init__(self, identities: Identities, *, harmless: Sequence[str] = (), addresses: Sequence[str] = ()) -> None:
        """Sort the names by where they are looked for.

        Args:
            identities: Names of real subjects, images and folders.
            harmless: Names of channels: an id that is one of them says nothing.
            addresses: Texts with e-mail addresses that the publisher wants to be reached at.
        """
        self.inside = _Inside(GRAM)  # anywhere, also inside other words
        self.words: set[str] = set()  # whole words, anywhere
        self.said_words: set[str] = set()  # whole words in what people wrote
        self.said_numbers: set[str] = set()  # small numbers in what people wrote, after a word such as "patient"
        plain = {_plain(name) for name in harmless}
        for subject in identities.subjects:
            self._sort_in(_plain(subject), plain)
        for image in identities.images:
            self._sort_in_image(_plain(image))
        for folder in identities.paths:
            if len(folder) > GRAM:
                self._add_inside(_plain(folder).strip("/"))
        self._bytes = _ByteSearch(self.inside.names)
        self._machine = tuple(_machine_patterns())
        self._addresses = [found for text in addresses for found in _EMAIL.findall(_plain(text))]

    def in_text(self, text: str) -> set[str]:
        """Return the names and paths in a text that the program wrote."""
        text = _plain(text)
        found = {digest for digest in _SHA256.findall(text) if digest in self.words}
        found |= set(absolute_paths(text))
        text = _OWN_FILES.sub(" ", _SHA256.sub(" ", text))
        found |= self.inside.found(text) | (self.words & set(_words(text)))
        for address in self._addresses:
            text = text.replace(address, " ")
        return found | {match.group() for pattern in self._machine for match in pattern.finditer(text)}

    def in_said(self, text: str) -> set[str]:
        """Return the names and paths in a text that a person wrote."""
        plain = _plain(text)
        found = self.in_text(text) | (self.said_words & set(_words(plain)))
        for number in re.findall(_BEFORE_NUMBER + r"s?[\s#:._-]*0*(\d+)\b", plain):
            found |= self.said_numbers & {number}
        return found

    def in_bytes(self, data: bytes) -> set[str]:
        """Return the long names that stand in bytes, such as pixels."""
        return self._bytes.found(data)

    def _sort_in(self, name: str, harmless: set[str]) -> None:
        letters, digits = any(c.isalpha() for c in name), any(c.isdigit() for c in name)
        if letters and digits and len(name) >= GRAM:
            self._add_inside(name)
        elif not name or name in harmless:
            return
        elif digits and not letters and name.isdigit():
            wanted = self.words if len(name) >= 6 else self.said_words if len(name) >= 4 else self.said_numbers
            wanted.add(name if len(name) >= 4 else name.lstrip("0") or "0")
        elif len(name) >= BYTES and re.search(r"\w[\s_.^/-]+\w", name):  # "svensson^anna"
            self._add_inside(name)
        else:
            (self.words if letters and digits and len(name) >= 4 else self.said_words).add(name)

    def _sort_in_image(self, name: str) -> None:
        """File names count with their folder, with their ending, or where the name before the ending is peculiar."""
        file, _, number = name.rpartition("#") if re.search(r"#\d+$", name) else (name, "", "")
        for whole in {name, file} if number else {name}:
            if "/" in whole:
                self._add_inside(whole)
        path = PurePosixPath(file)
        if path.suffix:
            self.words.add(path.name)
        for part in (*path.parts[:-1], path.name.split(".")[0]):
            if len(part) >= GRAM and re.search("[a-z]", part) and re.search("[0-9]", part):
                self._add_inside(part)

    def _add_inside(self, name: str) -> None:
        if len(name) >= GRAM and _SHA256.fullmatch(name) is None:
            self.inside.add(name)
        elif name:
            self.words.add(name)


class _Inside:
    """Finds many names in a text at once: where one's first letters stand, each length of such names is tried."""

    def __init__(self, start: int) -> None:
        self.start, self.names = start, set[str]()
        self.lengths: dict[str, set[int]] = {}  # first letters: lengths of names that begin so

    def add(self, name: str) -> None:
        self.names.add(name)
        self.lengths.setdefault(name[: self.start], set()).add(len(name))

    def found(self, text: str) -> set[str]:
        found: set[str] = set()
        for place in range(len(text) - self.start + 1):
            for length in self.lengths.get(text[place : place + self.start], ()):
                name = text[place : place + length]
                if name in self.names:
                    found.add(name)
        return found


class _ByteSearch:
    """Finds many long names in megabytes of pixels: places where two bytes begin a name are looked at closely."""

    def __init__(self, names: Iterable[str]) -> None:
        self.starts = np.zeros(1 << 16, dtype=bool)
        self.inside = _Inside(BYTES)
        for name in names:
            for written in (name.encode().decode("latin-1"), name.upper().encode().decode("latin-1")):
                if len(written) >= BYTES:  # bytes as the characters of the same numbers
                    self.starts[ord(written[0]) << 8 | ord(written[1])] = True
                    self.inside.add(written)

    def found(self, data: bytes) -> set[str]:
        """Return the names in the data, in the spelling found."""
        values = np.frombuffer(data, dtype=np.uint8).astype(np.uint16)
        if not self.inside.names or len(values) < BYTES:
            return set()
        places = np.flatnonzero(self.starts[values[:-1] << 8 | values[1:]])
        found: set[str] = set()
        for place in places.tolist():
            for length in self.inside.lengths.get(data[place : place + BYTES].decode("latin-1"), ()):
                found |= {data[place : place + length].decode("latin-1")} & self.inside.names
        return found


def absolute_paths(text: str) -> list[str]:
    """Return every absolute path in a text, of any system, in lower case; addresses of web pages are none."""
    plain = _plain(text)
    return [match.group() for pattern in _PATHS for match in pattern.finditer(plain)]


def _machine_patterns() -> Iterable[re.Pattern[str]]:
    """Yield patterns of this user and this machine, in paths and addresses only."""
    try:
        user = _plain(getpass.getuser())
    except (OSError, KeyError):  # a container without a user table
        user = ""
    if user:
        yield re.compile(rf"(?:\b(?:home|users)[/\\]+|~){re.escape(user)}(?![\w-])")
        yield re.compile(rf"(?<![\w.+-]){re.escape(user)}@[\w.-]+")
    name = _plain(platform.node())
    for host in {name, name.split(".")[0]} - {"", "localhost"}:
        yield re.compile(rf"(?:@|//|\\\\){re.escape(host)}(?![\w-])")
        yield re.compile(rf"(?<![\w.-]){re.escape(host)}:[/\\~]")


def _words(text: str) -> list[str]:
    """Return whole words, and their pieces between hyphens and the like; numbers with a point stay whole."""
    words: list[str] = []
    for word in _WORD.findall(text):
        words.append(word)
        if not re.fullmatch(r"[\d.]+", word):
            words += re.split(r"[.#-]", word)
    return words


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
