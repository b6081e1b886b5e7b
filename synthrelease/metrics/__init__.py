"""Metrics: pure functions of arrays. Roles are keyword-only; every function refuses input it cannot measure."""

from synthrelease.metrics.authenticity import (
    DistanceSummary,
    authenticity,
    calibrated_l2,
    nearest_neighbour_distance_ratio,
    summarise,
)
from synthrelease.metrics.coverage import Coverage, precision_recall_density_coverage
from synthrelease.metrics.data_copying import data_copying_score
from synthrelease.metrics.distances import dcr_share, whole_image_correlation
from synthrelease.metrics.extrapolation import ExtrapolatedDistance, frechet_distance_extrapolated
from synthrelease.metrics.frechet import (
    frechet_distance,
    frechet_from_moments,
    least_cosine_distance,
    memorization_informed_frechet_distance,
)
from synthrelease.metrics.inception_score import InceptionScore, inception_score
from synthrelease.metrics.kernel import KernelDistance, kernel_distance
from synthrelease.metrics.likelihood import FeatureLikelihoodDivergence, feature_likelihood_divergence
from synthrelease.metrics.masks import (
    MaskSums,
    mask_area_distance,
    mask_label_distance,
    mask_nesting,
    mask_off_level,
    mask_place_overlap,
    mask_sums,
    mask_volume_distance,
)
from synthrelease.metrics.moments import Moments, moments
from synthrelease.metrics.overlap import dice, hausdorff, hausdorffs
from synthrelease.metrics.pixels import PixelSums, intensity_distance, pixel_sums, spectrum_distance
from synthrelease.metrics.structure import Likeness, disjoint_pairs, mean_similarity, structural_similarity
from synthrelease.metrics.table import METRICS, Metric
from synthrelease.metrics.vendi import vendi_score

__all__ = [
    "METRICS",
    "Coverage",
    "DistanceSummary",
    "ExtrapolatedDistance",
    "FeatureLikelihoodDivergence",
    "InceptionScore",
    "KernelDistance",
    "Likeness",
    "MaskSums",
    "Metric",
    "Moments",
    "PixelSums",
    "authenticity",
    "calibrated_l2",
    "data_copying_score",
    "dcr_share",
    "dice",
    "disjoint_pairs",
    "feature_likelihood_divergence",
    "frechet_distance",
    "frechet_distance_extrapolated",
    "frechet_from_moments",
    "hausdorff",
    "hausdorffs",
    "inception_score",
    "intensity_distance",
    "kernel_distance",
    "least_cosine_distance",
    "mask_area_distance",
    "mask_label_distance",
    "mask_nesting",
    "mask_off_level",
    "mask_place_overlap",
    "mask_sums",
    "mask_volume_distance",
    "mean_similarity",
    "memorization_informed_frechet_distance",
    "moments",
    "nearest_neighbour_distance_ratio",
    "pixel_sums",
    "precision_recall_density_coverage",
    "spectrum_distance",
    "structural_similarity",
    "summarise",
    "vendi_score",
    "whole_image_correlation",
]
