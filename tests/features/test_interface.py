"""Choosing an extractor, and what may enter and leave one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from synthrelease.errors import AuditError, SettingsError, WeightsError
from synthrelease.features.interface import NonFiniteFeatureError, checked_features, checked_images, load


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="'radimagenet-resnet50'"):
        load("radimagenet-resnet18")


def test_missing_weights_say_where_to_get_them_and_what_to_run():
    with pytest.raises(WeightsError) as caught:
        load("radimagenet-inceptionv3")

    message = str(caught.value)
    assert "BMEII-AI/RadImageNet" in message
    assert "Lab-Rasool/RadImageNet" in message
    assert "synthrelease weights import radimagenet-inceptionv3 FILE" in message


def test_pixels_take_no_weights(tmp_path):
    with pytest.raises(SettingsError, match="no weights"):
        load("pixels", tmp_path / "file.pt")


def test_images_of_another_range_or_shape_are_refused():
    with pytest.raises(AuditError, match="0 to 1"):
        checked_images(np.full((2, 1, 4, 4), 255, np.float32))
    with pytest.raises(AuditError, match=r"\(n, c, h, w\)"):
        checked_images(np.zeros((2, 4, 4), np.float32))


def test_the_row_with_a_pixel_or_feature_that_is_not_finite_is_named():
    images = np.zeros((3, 1, 4, 4), np.float32)
    images[2, 0, 1, 1] = np.nan
    features = np.zeros((3, 4), np.float32)
    features[1, 0] = np.inf

    with pytest.raises(NonFiniteFeatureError, match="number 2"):
        checked_images(images)
    with pytest.raises(NonFiniteFeatureError, match="number 1"):
        checked_features(features)


def test_the_interface_and_the_list_of_weights_do_not_import_torch():
    code = (
        "import sys; from synthrelease.features import interface, weights, cache; weights.listing(); "
        "import synthrelease.cli.weights, synthrelease.cli.cache; sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
