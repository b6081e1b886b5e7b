"""A procedural multi-subject cohort that behaves like BraTS where it matters; nobody was ever scanned for it."""
