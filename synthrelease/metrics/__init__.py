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
from synthrelease.metrics.frechet import (
    frechet_distance,
    least_cosine_distance,
    memorization_informed_frechet_distance,
)
from synthrelease.metrics.inception_score import InceptionScore, inception_score
from synthrelease.metrics.kernel import KernelDistance, kernel_distance
from synthrelease.metrics.likelihood import FeatureLikelihoodDivergence, feature_likelihood_divergence
from synthrelease.metrics.table import METRICS, Metric
from synthrelease.metrics.vendi import vendi_score

__all__ = [
    "METRICS",
    "Coverage",
    "DistanceSummary",
    "FeatureLikelihoodDivergence",
    "InceptionScore",
    "KernelDistance",
    "Metric",
    "authenticity",
    "calibrated_l2",
    "data_copying_score",
    "dcr_share",
    "feature_likelihood_divergence",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "least_cosine_distance",
    "memorization_informed_frechet_distance",
    "nearest_neighbour_distance_ratio",
    "precision_recall_density_coverage",
    "summarise",
    "vendi_score",
    "whole_image_correlation",
]
