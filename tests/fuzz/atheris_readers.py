"""The same property as `test_readers.py`, coverage-guided: one reader, as many inputs as time allows.

    python tests/fuzz/atheris_readers.py nifti --seconds 120
    python tests/fuzz/atheris_readers.py --list

Needs atheris (`pip install atheris`; no part of the project's own dependencies). Findings are written as files into
the folder that `--out` names and shown as they would reach a user.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "report"), str(TESTS.parent)]


def main() -> int:
    """Feed one reader until the time is over; 1 where it raised what no reader may raise."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of one reader.")
    parser.add_argument("reader", nargs="?", help="A name that --list shows.")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("atheris is not installed, so nothing was fuzzed. Install it with: pip install atheris")
        return 0
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ["SYNTHRELEASE_CACHE"] = str(home / "cache")
    with atheris.instrument_imports(include=["synthrelease", "nibabel", "pydicom", "tifffile", "PIL", "tomllib"]):
        from fuzz_readers import check, readers

        known = readers(home)
    if options.list or options.reader not in known:
        print("\n".join(known))
        return 0 if options.list else 2
    reader = known[options.reader]
    corpus = home / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(reader.valid)
    options.out.mkdir(parents=True, exist_ok=True)

    def feed(content: bytes) -> None:
        check(reader, content, home)

    limits = ["-rss_limit_mb=4096", "-timeout=60", f"-max_total_time={options.seconds}", "-print_final_stats=1"]
    size = f"-max_len={4 * len(reader.valid) + 4096}"
    atheris.Setup([sys.argv[0], *limits, size, f"-artifact_prefix={options.out}/", str(corpus)], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
