"""Settings: unknown keys name the nearest, limits hold, everything is explained on its page."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from synthrelease.errors import SettingsError
from synthrelease.settings import AuditSettings, PhantomSettings, PrepareSettings

ALL = [AuditSettings, PhantomSettings, PrepareSettings]


@pytest.mark.parametrize("cls", ALL)
def test_defaults_are_valid_and_every_option_is_explained(cls):
    cls.checked()

    assert all(field.description for field in cls.model_fields.values())


@pytest.mark.parametrize(
    ("key", "nearest"), [("aplha", "alpha"), ("extractor", "extractors"), ("boostrap", "bootstrap"), ("seeds", "seed")]
)
def test_an_unknown_key_names_the_nearest(key, nearest):
    with pytest.raises(SettingsError, match=f"did you mean '{nearest}'"):
        AuditSettings.checked(**{key: 1})


def test_a_key_like_no_other_is_still_an_error():
    with pytest.raises(SettingsError, match=r"unknown key 'zzzz'[^?]*$"):
        AuditSettings.checked(zzzz=1)


def test_all_problems_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        AuditSettings.checked(alpha=0, image_size=8, sede=1)

    assert all(word in caught.value.problem for word in ("alpha", "image_size", "sede"))


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0},
        {"alpha": 0.21},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"seed": -1},
        {"image_size": 31},
        {"candidates": 0},
        {"bootstrap": 99},
        {"permutations": 98},
        {"power_floor": 1.1},
        {"attempt": 0},
        {"planted_subjects": 0},
        {"alpha": "much"},
    ],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(SettingsError, match=next(iter(options))):
        AuditSettings.checked(**options)


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_must_be_shares_of_one(fractions):
    with pytest.raises(SettingsError, match="sum to 1"):
        PrepareSettings.checked(fractions=fractions)


def test_settings_do_not_change_once_made():
    with pytest.raises(ValidationError):
        AuditSettings().alpha = 0.1


def test_the_searches_share_alpha():
    assert AuditSettings(alpha=0.03).alpha_each == pytest.approx(0.01)
    assert AuditSettings(alpha=0.03, parts=False).alpha_each == 0.03


def test_settings_are_read_from_toml(tmp_path):
    file = tmp_path / "audit.toml"
    file.write_text('alpha = 0.05\nextractors = ["pixels"]\n')

    assert AuditSettings.from_toml(file) == AuditSettings(alpha=0.05, extractors=("pixels",))


@pytest.mark.parametrize("content", [b"alpha = ", b"\xff\xfe", b"aplha = 0.1"])
def test_a_file_that_is_no_such_toml_is_refused(content, tmp_path):
    file = tmp_path / "audit.toml"
    file.write_bytes(content)

    with pytest.raises(SettingsError):
        AuditSettings.from_toml(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        AuditSettings.from_toml(tmp_path / "nowhere.toml")
