"""What a trained segmenter draws into images, as maps of classes at the images' own size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from synthrelease.image_set import MASK
from synthrelease.segmentation.feed import Reader, standardised
from synthrelease.segmentation.mixing import Source
from synthrelease.segmentation.networks import Segmenter

BATCH = 16
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@torch.inference_mode()
def predicted(
    network: Segmenter, source: Source, rows: NDArray[np.int64], reader: Reader, device: torch.device
) -> Pair:
    """Return classes as drawn by the network and as in the masks: (k, h, w) uint8 each, in the order of ``rows``.

    Args:
        network: On ``device``; put into evaluation mode and back.
        source: Whose images; their masks are read, but only the contrasts reach the network.
        rows: (k,) row numbers of the image set.
        reader: What the network was trained with.
        device: Where it runs.
    """
    images, was_training = source.images, network.training
    network.eval()
    drawn, truth = [], []
    try:
        for start in range(0, len(rows), BATCH):
            block = images.read(rows[start : start + BATCH].tolist())
            inputs = standardised(reader.pixels(block, images.channels)).to(device)
            logits = network(inputs).float()
            if tuple(logits.shape[2:]) != images.size:
                logits = functional.interpolate(logits, images.size, mode="bilinear", align_corners=False)
            drawn.append(logits.argmax(1).byte().cpu().numpy())
            truth.append(reader.labels.of(block[:, images.channels.index(MASK)]))
    finally:
        network.train(was_training)
    return np.concatenate(drawn), np.concatenate(truth)


def subjects_of(source: Source) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield each subject with its row numbers in the order of its slices; several volumes come one after the other."""
    subjects, rows = source.images.subjects[source.rows], source.images.rows
    for name in np.unique(subjects):
        own = source.rows[subjects == name].tolist()
        repeats = len({rows[i].slice for i in own}) < len(own)
        own.sort(key=lambda i: (rows[i].source if repeats else "", rows[i].slice))
        yield str(name), np.array(own, dtype=np.int64)
