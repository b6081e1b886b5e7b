"""One line per metric: what it is called, what it means, where copying moves it and what it cannot see.

Documentation, reports and policies read this table; none of them repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Direction = Literal["lower", "higher", "improves", "none"]
"""Where copying train images moves a value: lower, higher, `improves` (looks like better quality) or not reliably."""


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know before reading the number."""

    name: str
    """Name of the function in `synthrelease.metrics`."""
    title: str
    roles: tuple[str, ...]
    """Arguments it compares, in the words of the study."""
    unit: str
    better: str
    """Which value good images have."""
    towards_copying: Direction
    copying: str
    """What copying does to it, as a sentence for a report."""
    meaning: str
    blind_to: str
    source: str


_ALL = (
    Metric(
        name="frechet_distance",
        title="Frechet distance (FID on Inception features)",
        roles=("real", "synthetic"),
        unit="squared feature units",
        better="lower",
        towards_copying="improves",
        copying="Verbatim copies lower it, so it looks like better quality.",
        meaning="Distance between Gaussians fitted to real and synthetic features: means and covariances.",
        blind_to="Copying, anything beyond mean and covariance, and counts: it falls as either set grows.",
        source="Heusel et al. 2017",
    ),
    Metric(
        name="frechet_distance_extrapolated",
        title="Frechet distance at infinitely many synthetic images (FD infinity)",
        roles=("real", "synthetic"),
        unit="squared feature units",
        better="lower",
        towards_copying="improves",
        copying="Verbatim copies lower it, so it looks like better quality.",
        meaning="Where the Frechet distance goes as synthetic images become many: a line in 1 / m, read at 0.",
        blind_to="Copying; the bias from few real images stays in it; the line is noisy under some 1,000 images.",
        source="Chong and Forsyth 2020",
    ),
    Metric(
        name="kernel_distance",
        title="Kernel distance (KID on Inception features)",
        roles=("real", "synthetic"),
        unit="squared kernel units",
        better="lower",
        towards_copying="improves",
        copying="Verbatim copies lower it, so it looks like better quality.",
        meaning="Squared distance between feature distributions under a cubic kernel, not biased by counts.",
        blind_to="Copying, and rare kinds of images.",
        source="Binkowski et al. 2018",
    ),
    Metric(
        name="inception_score",
        title="Inception score",
        roles=("probabilities",),
        unit="effective classes, 1 to the number of classes",
        better="higher",
        towards_copying="none",
        copying="Copies score like the images they copy.",
        meaning="How sure a classifier is of each image, and how evenly images spread over its classes.",
        blind_to="Real images altogether, variety within a class, and whether the classes suit these images.",
        source="Salimans et al. 2016",
    ),
    Metric(
        name="precision_recall_density_coverage",
        title="Precision, recall, density, coverage",
        roles=("real", "synthetic"),
        unit="share, 0 to 1 (density: ratio, 0 and above)",
        better="higher",
        towards_copying="improves",
        copying="Verbatim copies raise precision, density and coverage, so they look like better quality.",
        meaning="Do synthetic images stay among real ones (precision, density) and reach all (recall, coverage)?",
        blind_to="Copying; single outliers with large balls inflate precision and recall.",
        source="Kynkäänniemi et al. 2019; Naeem et al. 2020",
    ),
    Metric(
        name="vendi_score",
        title="Vendi score",
        roles=("features",),
        unit="effective number of images",
        better="higher",
        towards_copying="none",
        copying="A set of copies is as varied as what it copies.",
        meaning="How many entirely different images a set amounts to.",
        blind_to="Real images altogether: neither quality nor copying moves it in a known way.",
        source="Friedman and Dieng 2023",
    ),
    Metric(
        name="mean_similarity",
        title="Likeness within the set (MS-SSIM of pairs)",
        roles=("synthetic",),
        unit="MS-SSIM, 0 to 1",
        better="near the real images'",
        towards_copying="none",
        copying="Copies of many different images are as varied as these.",
        meaning="Mean multi-scale structural similarity of pairs; above the real images' value, variety is missing.",
        blind_to="Which images are missing; noise lowers it and looks like variety.",
        source="Wang et al. 2003; Odena et al. 2017",
    ),
    Metric(
        name="intensity_distance",
        title="Intensity agreement",
        roles=("real", "synthetic"),
        unit="share of the intensity range",
        better="lower",
        towards_copying="improves",
        copying="Copies have the intensities of what they copy.",
        meaning="Wasserstein distance between the intensities of all foreground pixels.",
        blind_to="Where a pixel lies: shuffled pixels score 0.",
        source="Wasserstein distance in one dimension",
    ),
    Metric(
        name="spectrum_distance",
        title="Power-spectrum agreement",
        roles=("real", "synthetic"),
        unit="log10 of power",
        better="lower",
        towards_copying="improves",
        copying="Copies have the sharpness of what they copy.",
        meaning="Mean difference of log power over spatial frequencies; blur, noise and checkerboards raise it.",
        blind_to="Phase: what the image shows.",
        source="Durall et al. 2020 (azimuthal average)",
    ),
    Metric(
        name="mask_area_distance",
        title="Tumour areas",
        roles=("real", "synthetic"),
        unit="share of the image",
        better="lower",
        towards_copying="improves",
        copying="Copied masks have real areas.",
        meaning="Wasserstein distance between tumour areas per slice; slices without tumour count 0.",
        blind_to="Volumes across slices, shape, and whether mask and image fit.",
        source="Wasserstein distance in one dimension",
    ),
    Metric(
        name="mask_volume_distance",
        title="Tumour volumes",
        roles=("real", "synthetic"),
        unit="ml",
        better="lower",
        towards_copying="improves",
        copying="Copied subjects have real volumes.",
        meaning="Wasserstein distance between subjects' tumour volumes, where both sets hold several slices of each.",
        blind_to="Single slices; tumour in slices that were left out when the images were prepared; shape and place.",
        source="Wasserstein distance in one dimension",
    ),
    Metric(
        name="mask_place_overlap",
        title="Where tumours lie",
        roles=("real", "synthetic"),
        unit="share, 0 to 1",
        better="higher",
        towards_copying="improves",
        copying="Copied masks lie where real ones do.",
        meaning="Overlap of two 16 x 16 heat maps of tumour pixels.",
        blind_to="Single tumours in impossible places, when they are few.",
        source="histogram intersection",
    ),
    Metric(
        name="mask_label_distance",
        title="Mix of tumour labels",
        roles=("real", "synthetic"),
        unit="share, 0 to 1",
        better="lower",
        towards_copying="improves",
        copying="Copied masks have the real mix.",
        meaning="Share of tumour pixels that would need another label for the mix to be as in real masks.",
        blind_to="How labels lie to each other.",
        source="total variation distance",
    ),
    Metric(
        name="mask_off_level",
        title="Mask pixels that are no label",
        roles=("synthetic",),
        unit="share, 0 to 1",
        better="0",
        towards_copying="none",
        copying="Copied masks hold legal labels.",
        meaning="Share of tumour pixels that carry none of the values that real masks use.",
        blind_to="Wrong but legal labels; 0 after re-quantising whatever was generated.",
        source="BraTS labels",
    ),
    Metric(
        name="mask_nesting",
        title="Masks with impossible nesting",
        roles=("synthetic",),
        unit="share, 0 to 1",
        better="near the real masks'",
        towards_copying="none",
        copying="Copied masks are nested as real ones.",
        meaning="Share of masks whose enhancing tumour touches more background than tumour.",
        blind_to="Any other impossible shape.",
        source="BraTS labels",
    ),
    Metric(
        name="authenticity",
        title="Authenticity (AuthPct)",
        roles=("train", "synthetic"),
        unit="percent",
        better="higher",
        towards_copying="lower",
        copying="Copies are nearer to their source than the source's nearest neighbour is, so the percentage falls.",
        meaning="Share of synthetic images farther from their nearest train image than that image's own neighbour is.",
        blind_to="A few copies (1 % costs about a point); adjacent slices hide copies unless subjects are given.",
        source="Alaa et al. 2022",
    ),
    Metric(
        name="data_copying_score",
        title="Data-copying statistic C_T",
        roles=("train", "holdout", "synthetic"),
        unit="standard deviations",
        better="near 0",
        towards_copying="lower",
        copying="Far below 0 (about -3) when synthetic images lie nearer to train than holdout images do.",
        meaning="Rank test of distances to train, synthetic against holdout, over three regions of the feature space.",
        blind_to="A few copies (at 10 % it may still be calm); slices of one subject count as independent.",
        source="Meehan et al. 2020",
    ),
    Metric(
        name="calibrated_l2",
        title="Calibrated distance to train",
        roles=("train", "synthetic"),
        unit="ratio, 0 to 2, per image",
        better="near 2",
        towards_copying="lower",
        copying="A copy stands out from its 50 nearest train images: its ratio is near 0.",
        meaning="Distance to the nearest train image over half the mean distance to the nearest 50.",
        blind_to="Copies of images that train holds in many similar versions, such as adjacent slices of one subject.",
        source="Carlini et al. 2023",
    ),
    Metric(
        name="nearest_neighbour_distance_ratio",
        title="Nearest-neighbour distance ratio (NNDR)",
        roles=("train", "synthetic"),
        unit="ratio, 0 to 1, per image",
        better="near 1",
        towards_copying="lower",
        copying="A copy is much nearer to its source than to any other train image: its ratio is near 0.",
        meaning="Distance to the nearest train image over the distance to the second nearest.",
        blind_to="Copies of images with a near twin in train (unless subjects are given and the twin shares one).",
        source="Lowe 2004; Zhao et al. 2021",
    ),
    Metric(
        name="dcr_share",
        title="Share of images nearer to train than to holdout (DCR share)",
        roles=("train", "holdout", "synthetic"),
        unit="share",
        better="0.5",
        towards_copying="higher",
        copying="Copies of train images are nearer to train, so the share rises above 0.5.",
        meaning="Chance that the nearest real image is a train image, out of equally many of each; ties count half.",
        blind_to="How near: a copy counts no more than an image nearer to train by a hair. 1 % copies add 0.005.",
        source="Platzer and Reutterer 2021",
    ),
    Metric(
        name="memorization_informed_frechet_distance",
        title="Memorisation-informed Frechet distance (MIFID)",
        roles=("train", "synthetic"),
        unit="squared feature units",
        better="lower",
        towards_copying="higher",
        copying="When the mean cosine distance to train is under 0.1 the Frechet distance is divided by it.",
        meaning="Frechet distance, multiplied up where synthetic images lie suspiciously near to train.",
        blind_to="A few copies: it averages. Copies of all of train: 0 over anything is 0. Small cosines trip it.",
        source="Bai et al. 2021",
    ),
    Metric(
        name="feature_likelihood_divergence",
        title="Feature likelihood divergence (FLD) and its gap",
        roles=("train", "holdout", "synthetic"),
        unit="1/100 nat per feature",
        better="lower; gap near 0",
        towards_copying="lower",
        copying="The gap (train minus holdout) falls far below 0: the copies explain train better than holdout.",
        meaning="How badly a density around synthetic images explains holdout, and how much better it explains train.",
        blind_to="A few copies: the gap is a mean over train. Its value without copying depends on counts.",
        source="Jiralerspong et al. 2023",
    ),
    Metric(
        name="whole_image_correlation",
        title="Highest whole-image correlation",
        roles=("train", "synthetic"),
        unit="Pearson r, -1 to 1, per image",
        better="no higher than holdout images reach",
        towards_copying="higher",
        copying="A pixel-for-pixel copy reaches 1.",
        meaning="Highest Pearson r between a synthetic image and any train image, over all pixels.",
        blind_to="Rotated, shifted, mirrored copies; unrelated patients reach 0.83 to 0.88: heads fill the same place.",
        source="Akbar et al. 2025",
    ),
)

METRICS = MappingProxyType({metric.name: metric for metric in _ALL})
"""All metrics by name, in the order in which reports show them."""
