"""Settings of the networks: what they refuse, and their way to JSON and back."""

from __future__ import annotations

import json

import pytest

from AHNetSegmentLib.network.settings import AHNetSettings, MCGCNSettings


def test_the_published_network_is_the_default():
    settings = AHNetSettings()
    assert settings.slice_stride == 32
    assert settings.width == 1.0
    assert settings.layers == (3, 4, 6, 3)


def test_the_slice_stride_is_the_product_of_the_stages():
    assert AHNetSettings(slice_strides=(1, 1, 2, 2, 1)).slice_stride == 4


@pytest.mark.parametrize(
    "settings",
    [
        AHNetSettings(in_channels=2, classes=5, width=0.5, slice_strides=(1, 2, 1, 2, 1), upsampling="transpose"),
        MCGCNSettings(in_channels=2, classes=3, kernels=(3, 5, 7, 9, 11), projected_from=4),
    ],
)
def test_settings_survive_json(settings):
    assert type(settings).from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_what_a_dictionary_leaves_out_keeps_its_default():
    assert AHNetSettings.from_dict({"classes": 4}) == AHNetSettings(classes=4)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="Unknown AHNetSettings: depth"):
        AHNetSettings.from_dict({"depth": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"in_channels": 0},
        {"classes": 1.5},
        {"classes": True},
        {"width": 0},
        {"width": float("nan")},
        {"width": "1"},
        {"slice_strides": (2, 2, 2, 2)},
        {"slice_strides": (2, 2, 3, 2, 2)},
        {"pyramid_levels": 5},
        {"upsampling": "nearest"},
        {"align_corners": 1},
        {"layers": (3, 4, 6)},
        {"growth": 0},
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AHNetSettings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"kernels": (7, 9, 15, 31)}, {"kernels": (7, 9, 15, 31, 62)}, {"upsampling": "trilinear"}, {"projected_from": -1}],
)
def test_a_wrong_value_of_the_2d_network_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MCGCNSettings(**wrong)
