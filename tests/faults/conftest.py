"""The tests of faults share scripts that also run by themselves; they lie here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
