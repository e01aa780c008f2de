"""Patches as other modalities would show them: made intensities, thick slices, shrunken structures, the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine.appearance import acquire, make_appearance, normalise
from AHNetSegmentLib.engine.augmentation import Augmentation, cut_patch, draw_placement, fill_hollows, vary_intensity
from AHNetSegmentLib.engine.card import Intensity
from AHNetSegmentLib.engine.cases import ArrayCase
from AHNetSegmentLib.engine.dataset import BatchStream, PreparedCase, prepare_case
from AHNetSegmentLib.engine.errors import RecipeError
from AHNetSegmentLib.engine.preprocess import intensity_map
from AHNetSegmentLib.engine.recipe import Recipe, read_recipe
from AHNetSegmentLib.engine.shrinking import shrink_structure
from AHNetSegmentLib.engine.thick_slices import slice_matrix, thicken_slices
from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.settings import IGNORE_LABEL
from test_engine_training import RECIPE

PERCENTILES = Intensity("zscore", 0.5, 99.5)
MADE = Augmentation(made=1.0, made_structures=1.0, made_blend=0.0)


def body() -> tuple[torch.Tensor, torch.Tensor]:
    """Air around fat around two organs of one brightness, in a window of CT numbers: image and labels 6 x 48 x 48."""
    rng = np.random.default_rng(0)
    image = np.full((6, 48, 48), -1.0, np.float32)
    labels = np.zeros(image.shape, np.uint8)
    rows, columns = np.mgrid[:48, :48]
    distance = np.hypot(rows - 23.5, columns - 23.5)
    image[:, distance < 22] = -0.5
    image[:, distance < 17] = 0.1
    labels[:, distance < 15] = 1
    labels[:, (distance < 15) & (columns > 24)] = 2
    image += rng.normal(0, 0.02, image.shape).astype(np.float32)
    return torch.from_numpy(np.clip(image, -1, 1))[None], torch.from_numpy(labels)


def made(seed: int, settings: Augmentation = MADE) -> torch.Tensor:
    image, labels = body()
    return make_appearance(np.random.default_rng(seed), image, labels, settings)


def test_what_looked_alike_is_told_apart_and_contrasts_turn_around() -> None:
    _, labels = body()
    rows, columns = np.mgrid[:48, :48]
    distance = torch.from_numpy(np.hypot(rows - 23.5, columns - 23.5))
    fat = ((distance > 18) & (distance < 21)).expand(labels.shape)
    between, turned = [], []
    for seed in range(40):
        found = made(seed)[0]
        one, other = (float(found[labels == label].mean()) for label in (1, 2))
        between.append(abs(one - other))
        turned.append(one > float(found[fat].mean()))
        assert float(found.min()) >= 0
        assert torch.isfinite(found).all()
    assert np.median(between) > 0.1, "organs of one brightness in CT must not stay so"
    assert 8 < sum(turned) < 32, "fat must be darker in some images and brighter in others"


def test_without_structures_a_random_network_makes_other_contrasts_from_the_image_alone() -> None:
    networks = Augmentation(made=1.0, made_structures=0.0, made_blend=0.0)
    image, labels = body()
    orders = set()
    for seed in range(40):
        found = make_appearance(np.random.default_rng(seed), image, labels, networks)
        unlabelled = make_appearance(np.random.default_rng(seed), image, torch.zeros_like(labels), networks)
        torch.testing.assert_close(found, unlabelled, rtol=0, atol=0)
        orders.add(float(found[0][labels == 1].mean()) > float(found[0, :, 3:5, 22:26].mean()))
    assert orders == {True, False}


def test_air_is_nearly_always_dark_whatever_else_is_made_of_it() -> None:
    corners = [float(made(seed)[0, :, :4, :4].mean()) for seed in range(60)]
    assert 0.7 < np.mean(np.array(corners) < 0.02) < 1.0


def test_a_blend_differs_from_place_to_place() -> None:
    blended = replace(MADE, made_blend=1.0)
    _, labels = body()
    one = [np.ptp([float(made(seed)[0, 3][labels[3] == 1][part::4].std()) for part in range(4)]) for seed in range(8)]
    spread = [float(made(seed, settings)[0][labels == 1].std()) for seed in range(30) for settings in (MADE, blended)]
    assert len(one) == 8
    assert np.mean(spread[1::2]) > 1.3 * np.mean(spread[::2])


def test_what_is_made_depends_on_the_generator_alone_and_leaves_its_input() -> None:
    image, labels = body()
    before = image.clone()
    torch.testing.assert_close(made(3), made(3), rtol=0, atol=0)
    assert not torch.equal(made(3), made(4))
    make_appearance(np.random.default_rng(3), image, labels, MADE)
    acquire(np.random.default_rng(3), image, MADE)
    normalise(image, PERCENTILES, labels == 1)
    torch.testing.assert_close(image, before, rtol=0, atol=0)


def test_groups_part_the_background_by_intensity() -> None:
    ramp = torch.linspace(-1, 1, 200).repeat(2, 8, 1)[None]
    nothing = torch.zeros(2, 8, 200, dtype=torch.uint8)
    edges = {}
    for groups in (1, 6):
        settings = replace(MADE, made_groups=(groups, groups))
        found = [make_appearance(np.random.default_rng(seed), ramp, nothing, settings)[0, 0, 4] for seed in range(30)]
        edges[groups] = np.mean([int(((row[1:] - row[:-1]).abs() > 0.05).sum()) for row in found])
    assert edges[6] > 2 * edges[1]


def test_bias_and_noise_are_as_strong_as_the_settings_say() -> None:
    flat = torch.full((1, 8, 40, 40), 0.5)
    shaded = [
        acquire(np.random.default_rng(n), flat, Augmentation(made_shading=0.7, made_noise=0.0)) for n in range(40)
    ]
    largest = max(float(image.max()) for image in shaded)
    assert 0.5 * np.exp(0.4) < largest <= 0.5 * np.exp(0.7) + 1e-4
    noisy = [acquire(np.random.default_rng(n), flat, Augmentation(made_shading=0.0, made_noise=0.2)) for n in range(40)]
    assert 0.1 < max(float(image.std()) for image in noisy) <= 0.21
    dark = torch.zeros_like(flat)
    lows = {float(acquire(np.random.default_rng(n), dark, Augmentation(made_noise=0.2)).min()) < 0 for n in range(20)}
    assert lows == {True, False}, "magnitude images have no values below zero, others do"
    torch.testing.assert_close(
        acquire(np.random.default_rng(0), flat, Augmentation(made_shading=0.0, made_noise=0.0)), flat
    )


def test_made_patches_are_normalised_as_volumes_are_when_they_are_segmented() -> None:
    image, labels = body()
    found = normalise(image, PERCENTILES)
    expected = intensity_map(PERCENTILES, image.numpy()).apply(image.clone())
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    outside = torch.cat([image, torch.full((1, 6, 48, 48), 9.0)], dim=3)
    ignored = torch.cat([labels, torch.full((6, 48, 48), IGNORE_LABEL, dtype=torch.uint8)], dim=2)
    torch.testing.assert_close(normalise(outside, PERCENTILES, ignored != IGNORE_LABEL)[..., :48], found)
    nothing = torch.zeros(labels.shape, dtype=torch.bool)
    torch.testing.assert_close(normalise(image, PERCENTILES, nothing), found)


def test_thick_slices_average_what_they_cover_and_are_interpolated() -> None:
    matrix = slice_matrix(12, distance=3.0, thickness=3.0, start=1 / 3)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    # New centres lie on the old slices 1, 4, 7, 10 and each covers three.
    np.testing.assert_allclose(matrix[4], [0, 0, 0, *[1 / 3] * 3, 0, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[5], 2 / 3 * matrix[4] + 1 / 3 * matrix[7], atol=1e-6)
    ramp = np.arange(60, dtype=np.float32)
    np.testing.assert_allclose((slice_matrix(60, 2.5, 2.2, 0.3) @ ramp)[6:-6], ramp[6:-6], atol=0.03)


def test_slices_become_as_thick_as_the_settings_say_and_thin_ones_stay() -> None:
    image = torch.randn(1, 24, 4, 4, generator=torch.Generator().manual_seed(0))
    settings = Augmentation(thick=1.0, thickness=(9.0, 9.0))
    found = thicken_slices(np.random.default_rng(0), image, (3.0, 2.0, 2.0), settings)
    assert found.shape == image.shape
    # The mean of three independent slices, interpolated.
    assert 0.4 < float(found.std() / image.std()) < 0.62
    thin = Augmentation(thick=1.0, thickness=(1.0, 3.0))
    assert thicken_slices(np.random.default_rng(0), image, (3.0, 2.0, 2.0), thin) is image
    never = Augmentation(thick=0.0, thickness=(9.0, 9.0))
    assert thicken_slices(np.random.default_rng(0), image, (3.0, 2.0, 2.0), never) is image


def test_a_structure_is_shrunken_where_it_lies_and_the_rest_of_the_patch_stays() -> None:
    rows, columns = np.mgrid[:80, :90]
    labels = torch.zeros(4, 80, 90, dtype=torch.uint8)
    labels[:, torch.from_numpy(np.hypot((rows - 40) / 14, (columns - 50) / 10) < 1)] = 2
    image = torch.stack([labels.float(), torch.arange(90.0).expand(labels.shape)])
    settings = Augmentation(shrink=1.0, shrunken=(2,), smallest=0.5)
    shares = []
    for seed in range(30):
        found, names = shrink_structure(np.random.default_rng(seed), image, labels, settings)
        shares.append(float((names == 2).sum() / (labels == 2).sum()))
        places = torch.nonzero(names[0] == 2).float().mean(0)
        torch.testing.assert_close(places, torch.tensor([40.0, 50.0]), atol=0.6, rtol=0)
        assert float(((found[0] > 1) != (names == 2)).float().mean()) < 0.005
        # Beyond REACH times its half width nothing moves.
        torch.testing.assert_close(found[..., :30], image[..., :30], atol=1e-4, rtol=0)
    assert 0.2 < min(shares) < 0.4
    assert 0.8 < max(shares) <= 1.05
    other = Augmentation(shrink=1.0, shrunken=(3,))
    assert shrink_structure(np.random.default_rng(0), image, labels, other)[0] is image
    assert shrink_structure(np.random.default_rng(0), image, labels, Augmentation())[0] is image


def test_wider_pixels_show_more_of_a_volume() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 6, 40, 40))
    labels = np.zeros((6, 40, 40), np.uint8)
    wide = Augmentation(pixel=1.5)
    placed = draw_placement(np.random.default_rng(0), (2.5, 19.5, 19.5), (3.0, 2.0, 2.0), wide)
    patch, _ = cut_patch(ramp, labels, placed, (4, 20, 20), ())
    np.testing.assert_allclose(np.diff(patch[0, 0, 0].numpy()), 1.5, atol=1e-4)
    assert wide.of_patch((3.0, 2.0, 2.0)) == (3.0, 3.0, 3.0)


ANY = RECIPE.replace(
    "[network]", '[intensity_by_modality]\nCT = { rule = "window", lower = -125.0, upper = 275.0 }\n[network]'
)


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def prepared(recipe: Recipe, cache: Path, ct: bool = True) -> PreparedCase:
    image, labels = body()
    values = (image[0].numpy() + 1) * 200 - 125 if ct else (image[0].numpy() + 1) * 300
    scan = Volume(np.rint(values).astype(np.int16), Geometry((48, 48, 6), (1.0, 1.0, 2.0)), "Scan")
    return prepare_case(ArrayCase("one", scan, (labels.numpy() > 0).astype(np.uint8)), recipe, cache)


def test_plain_ct_stays_in_its_window_and_made_patches_have_mean_zero(tmp_path: Path) -> None:
    plain = replace(recipe_of(tmp_path, ANY), augmentation=Augmentation())
    case = prepared(plain, tmp_path)
    assert float(case.image.min()) == -1.0
    assert prepared(plain, tmp_path, ct=False).image.min() > -4
    images = BatchStream([case], plain, 2)[0][0]
    assert -1 <= float(images.min()) < -0.9
    mixed = replace(plain, augmentation=Augmentation(made=0.5, made_noise=0.0))
    patches = [patch for step in range(7) for patch in BatchStream([case], mixed, 2)[step][0]]
    kept = sum(bool((patch == -1).any()) for patch in patches)
    assert 3 < kept < 11, "about half of the patches stay as they were"
    assert all(abs(float(patch.mean())) < 0.4 for patch in patches if not (patch == -1).any())


def test_recipes_without_the_new_settings_give_the_batches_that_they_gave(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, RECIPE.replace("noise = 0.1", "noise = 0.1\nfilling = 0.5\nscale = 0.1"))
    case = prepared(recipe, tmp_path, ct=False)
    settings, stage = recipe.augmentation, recipe.stages[2]
    for step in range(4):
        images, labels, _ = BatchStream([case], recipe, 2)[step]
        rng = np.random.default_rng([recipe.seed, 2, step])
        for image, target in zip(images, labels, strict=True):
            rng.integers(1)
            centre = BatchStream([case], recipe, 2)._centre(rng, case, np.ones(3))
            placed = draw_placement(rng, centre, case.spacing, settings)
            patch, names = cut_patch(case.image, case.labels, placed, stage.patch, ())
            patch = fill_hollows(rng, patch, names, case.spacing, settings)
            torch.testing.assert_close(vary_intensity(rng, patch, settings), image, rtol=0, atol=0)
            torch.testing.assert_close(names, target, rtol=0, atol=0)


def test_made_intensities_belong_to_a_run_s_identity(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, ANY)
    for change in ({"made": 0.5}, {"thick": 0.3}, {"pixel": 1.25}, {"shrink": 0.1, "shrunken": (1,)}):
        settings: dict[str, Any] = change
        other = replace(recipe, augmentation=replace(recipe.augmentation, **settings))
        assert other.up_to(1) != recipe.up_to(1)
    assert replace(recipe, intensity_by_modality=()).up_to(1) != recipe.up_to(1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("made = 1.5", "'made' is a probability"),
        ("thick = -0.1", "'thick' is a probability"),
        ("thickness = [5.0, 1.0]", "the smaller one first"),
        ("made_groups = [0, 4]", "the smaller one first"),
        ("made_noise = -1.0", "'made_noise' must not be negative"),
        ("shrink = 0.2", "'shrink' needs 'shrunken'"),
        ("smallest = 0.0", "'smallest' must lie above 0"),
        ("pixel = 0.0", "'pixel' must be above zero"),
        ("maid = 0.5", "'maid' is unknown"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(tmp_path, ANY.replace("noise = 0.1", f"noise = 0.1\n{setting}"))


def test_made_intensities_need_percentiles_for_what_has_no_scale(tmp_path: Path) -> None:
    window = 'rule = "window"\nlower = -125.0\nupper = 275.0'
    text = RECIPE.replace('rule = "zscore"\nlower = 0.5\nupper = 99.5', window)
    with pytest.raises(RecipeError, match=r"need percentiles \('zscore'\) as the rule in 'intensity'"):
        recipe_of(tmp_path, text.replace("noise = 0.1", "noise = 0.1\nmade = 0.5"))
    assert recipe_of(tmp_path, text)


@pytest.mark.parametrize("name", ["ct", "C T", ""])
def test_modalities_have_dicom_s_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="which is no modality in capitals"):
        recipe_of(tmp_path, ANY.replace("CT = {", f'"{name}" = {{'))
