"""Segmentation: what a network learns from real and synthetic images, scored on real test subjects."""
