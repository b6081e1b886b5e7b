"""Part of synthrelease."""
