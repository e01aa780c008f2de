"""Images that are generated from label maps: tissues, sides, slices, cases, and a training from label maps alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine.augmentation import Augmentation, cut_labels, draw_placement, swap_sides
from AHNetSegmentLib.engine.build import cases_of, train_model
from AHNetSegmentLib.engine.card import Intensity, read_card
from AHNetSegmentLib.engine.dataset import BatchStream, PreparedCase, prepare_case
from AHNetSegmentLib.engine.errors import RecipeError, VolumeError
from AHNetSegmentLib.engine.generated_images import cut_field, draw_contrast, finer, paint, strip
from AHNetSegmentLib.engine.generation import Generation, Tissue
from AHNetSegmentLib.engine.image_io import write_volume
from AHNetSegmentLib.engine.label_maps import LabelMapCase, find_label_maps
from AHNetSegmentLib.engine.patches import generated_patch
from AHNetSegmentLib.engine.recipe import Recipe, read_recipe
from AHNetSegmentLib.engine.training_progress import TrainingOptions
from AHNetSegmentLib.engine.volume import Geometry, Volume

RECIPES = Path(__file__).resolve().parent / "recipes"
PERCENTILES = Intensity("zscore", 0.5, 99.5)
# A white and a grey half on each side, fluid between them, skin around all of it.
HEAD = Generation(
    merged=((2,), (41,), (17,), (53,)),
    tissues=(Tissue((2, 41), 0.6), Tissue((17, 53), 0.4), Tissue((24,), 0.2), Tissue((502,), 0.9)),
    envelope=(24,),
    stripped=0.0,
    cut=0.0,
    air=0.0,
)
SIDES = Augmentation(mirror=(0.0, 0.0, 1.0), mirror_swaps=((1, 2), (3, 4)))


def head_map() -> np.ndarray:
    """Values (k, j, i) in LPS with 1 mm: left is where i is large; the left grey nucleus lies further in front."""
    labels = np.zeros((20, 40, 44), np.int32)
    labels[2:18, 4:36, 4:40] = 502
    labels[4:16, 8:32, 8:36] = 24
    labels[5:15, 10:30, 9:21] = 41
    labels[5:15, 10:30, 23:35] = 2
    labels[8:12, 18:22, 12:16] = 53
    labels[8:12, 14:18, 28:32] = 17
    return labels


def codes() -> np.ndarray:
    places = {0: 0, **{value: code for code, value in enumerate(HEAD.values, start=1)}}
    return np.vectorize(places.__getitem__)(head_map()).astype(np.uint8)


def patch(seed: int = 0, settings: Augmentation | None = None, generation: Generation = HEAD) -> Any:
    return generated_patch(
        np.random.default_rng(seed),
        codes(),
        np.array([9.5, 19.5, 21.5]),
        (1.0, 1.0, 1.0),
        (10, 40, 44),
        (2.0, 1.0, 1.0),
        settings or Augmentation(made_shading=0.0, made_noise=0.0),
        generation,
        PERCENTILES,
    )


def write_map(path: Path, labels: np.ndarray, direction: tuple[float, ...] | None = None) -> Path:
    shape = labels.shape
    geometry = Geometry((shape[2], shape[1], shape[0]), direction=direction or Geometry((1, 1, 1)).direction)
    write_volume(path, Volume(labels.astype(np.int16), geometry))
    return path


def test_values_become_codes_classes_and_tissues() -> None:
    assert HEAD.values == (2, 17, 24, 41, 53, 502)
    assert HEAD.classes_by_code()[:7].tolist() == [0, 1, 3, 0, 2, 4, 0]
    assert HEAD.tissues_by_code()[:7].tolist() == [0, 1, 2, 3, 1, 2, 4]
    assert HEAD.kept_when_stripped(envelope=True)[:7].tolist() == [False, True, True, True, True, True, False]
    assert not HEAD.kept_when_stripped(envelope=False)[3]


def test_both_sides_of_a_tissue_are_alike_and_t1_is_t1() -> None:
    rng = np.random.default_rng(0)
    found = draw_contrast(rng, HEAD, t1=True)
    np.testing.assert_allclose(found.means[1:], [0.6, 0.4, 0.2, 0.9], atol=0.2)
    image = paint(rng, torch.from_numpy(codes()), HEAD, replace(found, deviations=np.zeros(5)))
    left, right = (image[torch.from_numpy(head_map() == value)] for value in (2, 41))
    assert left.unique().tolist() == right.unique().tolist()
    orders = {tuple(np.argsort(draw_contrast(np.random.default_rng(n), HEAD, t1=False).means[1:])) for n in range(60)}
    assert len(orders) > 15, "every order of brightness must occur"
    kinds = [draw_contrast(np.random.default_rng(n), replace(HEAD, t1=0.5, spread=0.0)).means[1] for n in range(60)]
    assert 15 < sum(value == 0.6 for value in kinds) < 45


def test_a_patch_shows_the_label_map_and_its_classes() -> None:
    image, target = patch()
    assert image.shape == (1, 10, 40, 44)
    expected = HEAD.classes_by_code()[codes()[1::2]]
    # Slices of 2 mm that lie between those of 1 mm may show either at the ends of a structure.
    assert float((target.numpy() == expected).mean()) > 0.97
    assert target.dtype == torch.uint8
    assert abs(float(image.mean())) < 0.2


def test_a_mirrored_head_comes_out_mirrored() -> None:
    plain, mirrored = patch(), patch(settings=replace(SIDES, made_shading=0.0, made_noise=0.0))
    table = torch.tensor([0, 2, 1, 4, 3], dtype=torch.uint8)
    torch.testing.assert_close(mirrored[1], table[plain[1].flip(-1).long()])
    # What is on the left of the mirror image is called left: columns run towards the left.
    for _, target in (plain, mirrored):
        for left, right in ((1, 2), (3, 4)):
            sides = [float(torch.nonzero(target == label)[:, 2].float().mean()) for label in (left, right)]
            assert sides[0] > 21.5 > sides[1]
    fronts = [
        [float(torch.nonzero(target == label)[:, 1].float().mean()) for label in (3, 4)]
        for _, target in (plain, mirrored)
    ]
    assert fronts[0][0] < fronts[0][1], "the left nucleus lies further in front"
    assert fronts[1][0] > fronts[1][1], "in the mirror image it is the right one"


def test_no_swap_where_nothing_is_mirrored() -> None:
    still = draw_placement(np.random.default_rng(0), (9.5, 19.5, 21.5), (1, 1, 1), Augmentation())
    labels = torch.tensor([[[1, 2, 3, 4]]], dtype=torch.uint8)
    torch.testing.assert_close(swap_sides(labels, still, SIDES), labels)


def test_a_voxel_of_thick_slices_holds_several_tissues() -> None:
    quiet = Augmentation(made_shading=0.0, made_noise=0.0)
    thick = replace(quiet, thick=1.0, thickness=(8.0, 8.0))
    smooth = replace(HEAD, texture=0.0)
    for axis, planes in enumerate(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))):
        values = [len(patch(3, settings, replace(smooth, planes=planes))[0].unique()) for settings in (quiet, thick)]
        assert values[0] <= 14, "each tissue, and pairs of them in slices of 2 mm"
        assert values[1] > 2 * values[0]
        image, _ = patch(3, thick, replace(smooth, planes=planes))
        steps = [float(image.diff(dim=other + 1).abs().amax()) for other in range(3)]
        assert min(steps) == steps[axis], "it is blurred along the slices alone"


def test_a_stripped_head_has_a_brain_and_air() -> None:
    shown = torch.from_numpy(codes())
    kept = {
        tuple(strip(np.random.default_rng(seed), shown, replace(HEAD, stripped=1.0)).unique().tolist())
        for seed in range(10)
    }
    assert kept == {(0, 1, 2, 3, 4, 5), (0, 1, 2, 4, 5)}
    assert strip(np.random.default_rng(0), shown, HEAD) is shown


def test_what_lies_outside_of_the_field_of_view_is_black_and_not_to_be_found() -> None:
    image, labels = torch.ones(1, 10, 40, 44), torch.ones(10, 40, 44, dtype=torch.uint8)
    sizes = set()
    for seed in range(20):
        found, names = cut_field(np.random.default_rng(seed), image, labels, replace(HEAD, cut=1.0))
        torch.testing.assert_close(found[0] > 0, names > 0)
        share = float(found.mean())
        assert 0.35 < share <= 1
        sizes.add(round(share, 2))
    assert len(sizes) > 8
    assert cut_field(np.random.default_rng(0), image, labels, HEAD)[0] is image


def test_air_around_a_patch_counts_when_it_is_normalised() -> None:
    small = patch(5)[0]
    large = patch(5, generation=replace(HEAD, air=6.0))[0]
    assert float(large.mean()) > float(small.mean()) + 0.2, "a whole head with its air is darker on average"


def test_labels_beyond_the_map_are_air() -> None:
    still = draw_placement(np.random.default_rng(0), (2.0, 2.0, 2.0), (1, 1, 1), Augmentation())
    labels = np.arange(1, 126, dtype=np.uint8).reshape(5, 5, 5)
    found = cut_labels(labels, still, (7, 7, 7))
    np.testing.assert_array_equal(found[1:6, 1:6, 1:6].numpy(), labels)
    assert int((found == 0).sum()) == 7**3 - 5**3
    wide = cut_labels(labels, finer(still, (1.0, 2.0, 2.0)), (5, 3, 3))
    np.testing.assert_array_equal(wide.numpy(), labels[:, ::2, ::2])


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_maps_of_any_orientation_are_read_alike(tmp_path: Path, axes: str) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(head_map())
    turned = sitk.DICOMOrient(image, axes)
    sitk.WriteImage(turned, str(tmp_path / "head.nii.gz"))
    case = LabelMapCase("head", tmp_path / "head.nii.gz", HEAD)
    recipe = brain_recipe()
    prepared = prepare_case(case, recipe, tmp_path / "cache")
    assert prepared.image is None
    # Without the air around it.
    np.testing.assert_array_equal(prepared.labels, codes()[2:18, 4:36, 4:40])
    assert len(prepared.centres) == 4


def brain_recipe() -> Recipe:
    recipe = read_recipe(RECIPES / "brain.toml")
    network = replace(recipe.network, classes=5, width=0.125, pyramid_levels=1)
    stage = replace(recipe.stages[0], steps=3, batch=2, patch=(6, 32, 32))
    return replace(
        recipe, classes=recipe.classes[:4], generation=HEAD, network=network, stages=(stage,), validation=(), base=""
    )


def test_a_value_that_no_tissue_has_is_named(tmp_path: Path) -> None:
    labels = head_map()
    labels[0, 0, 0] = 77
    case = LabelMapCase("head", write_map(tmp_path / "head.nii.gz", labels), HEAD)
    with pytest.raises(VolumeError, match="holds the value 77, which no tissue of the recipe has"):
        case.read_codes()


def test_a_case_s_image_is_always_the_same_and_looks_like_t1(tmp_path: Path) -> None:
    case = LabelMapCase("head", write_map(tmp_path / "head.nii.gz", head_map()), HEAD)
    image = case.read_image()
    np.testing.assert_array_equal(image.array, case.read_image().array)
    assert not np.array_equal(image.array, replace(case, seed=1).read_image().array)
    means = [float(image.array[head_map() == value].mean()) for value in (502, 2, 17, 24, 0)]
    assert means == sorted(means, reverse=True)
    np.testing.assert_array_equal(case.read_labels(image, ()), HEAD.classes_by_code()[codes()])


def test_label_maps_are_found_with_and_without_a_folder_of_their_own(tmp_path: Path) -> None:
    write_map(tmp_path / "maps" / "b.nii.gz", head_map())
    write_map(tmp_path / "maps" / "a.nii.gz", head_map())
    assert [case.name for case in find_label_maps(tmp_path / "maps", HEAD)] == ["a", "b"]
    write_map(tmp_path / "data" / "labels" / "c.nii.gz", head_map())
    assert [case.name for case in cases_of(brain_recipe(), tmp_path / "data")] == ["c"]
    (tmp_path / "data" / "images").mkdir()
    with pytest.raises(RecipeError, match="holds no cases"):
        cases_of(brain_recipe(), tmp_path / "data")
    with pytest.raises(RecipeError, match="holds no label maps"):
        find_label_maps(tmp_path / "nowhere", HEAD)


def test_batches_from_label_maps_depend_on_seed_stage_and_step_alone(tmp_path: Path) -> None:
    case = LabelMapCase("head", write_map(tmp_path / "head.nii.gz", head_map()), HEAD)
    recipe = brain_recipe()
    prepared: PreparedCase = prepare_case(case, recipe, tmp_path / "cache")
    one, other = BatchStream([prepared], recipe, 0)[2], BatchStream([prepared], recipe, 0, 1)[1]
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert one[0].shape == (2, 1, 6, 32, 32)
    assert int(one[1].max()) <= 4
    assert not torch.equal(one[0], BatchStream([prepared], recipe, 0)[0][0])


def test_a_model_is_trained_and_measured_on_label_maps_alone(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_map(tmp_path / "maps" / f"{name}.nii.gz", head_map())
    text = (RECIPES / "brain.toml").read_text(encoding="utf-8")
    start, end = text.index("merged ="), text.index("[[stages]]")
    tissues = "[" + ", ".join(f"{{ values = {list(item.values)}, t1 = {item.t1} }}" for item in HEAD.tissues) + "]"
    classes = text.index("[[classes]]\nlabel = 5\n")
    stage = '[[stages]]\nkind = "all"\nsteps = 3\nlearning_rate = 1e-3\nbatch = 2\npatch = [6, 32, 32]\n\n'
    text = (
        text[:start]
        + f"merged = [[2], [41], [17], [53]]\ntissues = {tissues}\n"
        + stage
        + text[text.index("[[classes]]") : classes]
    )
    text = text.replace("width = 0.5", "width = 0.125").replace('base = "hippocampus-t1"\n', "")
    first = text.index("validation = [")
    text = text[:first] + 'validation = ["two"]' + text[text.index("]", first) + 1 :]
    assert end > start
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    options = TrainingOptions(device="cpu", precision="float32", workers=0)
    found = train_model(recipe, tmp_path / "maps", tmp_path / "model", tmp_path / "work", options)
    assert found is not None
    assert [case.name for case in found.cases] == ["two"]
    card = read_card(tmp_path / "model" / "model.json")
    assert card.known == {"cases": 3, "spacing": [[1.0, 9.0]] * 3, "extent": [[20.0, 20.0], [40.0, 40.0], [44.0, 44.0]]}
    assert card.training["training_cases"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tissues": [{"values": [2, 2], "t1": 0.5}]}, "the value 2 is in two tissues"),
        ({"tissues": [{"values": [0], "t1": 0.5}], "merged": [[]]}, "must lie from 1"),
        ({"tissues": [{"values": [], "t1": 0.5}], "merged": [[]]}, "at least one value"),
        ({"tissues": [{"values": [2], "t1": 2.0}]}, "'t1' is a brightness"),
        ({"tissues": [{"values": [2], "t1": 0.5, "t2": 0.5}]}, "'t2' is unknown in a tissue"),
        ({"merged": [[9]]}, "'merged' has the value 9, which no tissue has"),
        ({"merged": [[2], [2]]}, "the value 2 is merged into two classes"),
        ({"envelope": [9]}, "'envelope' has the value 9"),
        ({"stripped": 2.0}, "'stripped' is a share"),
        ({"texture": -1.0}, "'texture' must not be negative"),
        ({"planes": [0.0, 0.0, 0.0]}, "'planes' must hold three weights"),
        ({"plane": 1}, "'plane' is unknown in generation"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], message: str) -> None:
    good = {"merged": [[2]], "tissues": [{"values": [2], "t1": 0.5}]}
    assert Generation.from_dict(good).values == (2,)
    with pytest.raises(ValueError, match=message):
        Generation.from_dict({**good, **change})


def test_a_recipe_and_its_generation_fit_together() -> None:
    recipe = read_recipe(RECIPES / "brain.toml")
    with pytest.raises(ValueError, match="'merged' in generation holds 4 lists of values for 29 classes"):
        replace(recipe, generation=HEAD)
    with pytest.raises(ValueError, match="need percentiles"):
        replace(recipe, intensity=Intensity("window", 0.0, 1.0))
    assert replace(recipe, generation=replace(recipe.generation, texture=0.0)).up_to(1) != recipe.up_to(1)
