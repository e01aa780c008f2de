"""Pictures of a scene, by Slicer's own displayable managers off screen: slices with segments, and surfaces in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from AHNetSegmentLib.engine.errors import VolumeError
from AHNetSegmentLib.scene.labels import labels_from_segments
from AHNetSegmentLib.scene.transforms import RAS_TO_LPS, array_from_matrix
from AHNetSegmentLib.scene.volumes import volume_from_node

ORIENTATIONS = (("Axial", 2), ("Coronal", 1), ("Sagittal", 0))
"""Slicer's names and the axis of RAS that a view of that name looks along."""

SIDES = (("L", "R"), ("P", "A"), ("I", "S"))
"""By axis of RAS: the letter at its lesser and at its greater end."""

GAP_PIXELS = 6
WINDOW_PERCENTILES = (2.0, 99.8)
BACKGROUND = ("#000000", "#2b3540")
"""Of the 3D view, below and above."""

FLOOR_GAP_MM = 4.0
LETTER_COLOR = (1.0, 0.95, 0.6)
NAME_COLOR = (0.95, 0.95, 0.95)


def render_slices(
    app: Any,
    volume_node: Any,
    segmentation_node: Any,
    path: Path,
    *,
    center: Sequence[float] | None = None,
    context_mm: float = 22.0,
    pixels: int = 460,
) -> None:
    """Writes an axial, a coronal and a sagittal view side by side, as Slicer shows them: the patient's left at right.

    Args:
        app: as :func:`slicer_app.slicer_app` gives it.
        volume_node: shown behind the segments; its window is set to what the picture shows.
        segmentation_node: shown filled and outlined.
        path: a PNG file.
        center: point in RAS that all three go through; None: each cuts the segments where they are largest.
        context_mm: how much is shown around the segments.
        pixels: width and height of one view.
    """
    points = segment_points(segmentation_node, volume_node)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    at = largest_cuts(points) if center is None else np.asarray(center, float)
    reach = float(np.ptp(points, axis=0).max()) + 2 * context_mm
    set_window(volume_node, middle, reach)
    display = segmentation_node.GetDisplayNode()
    display.SetOpacity2DFill(0.35)
    display.SetSliceIntersectionThickness(2)
    pictures = []
    for name, normal in ORIENTATIONS:
        through = middle.copy()
        through[normal] = at[normal]
        pictures.append(_slice_picture(app, volume_node, name, through, reach, pixels))
    gap = np.full((pixels, GAP_PIXELS, 3), 255, np.uint8)
    _write(path, np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1))


def render_3d(
    app: Any,
    segmentation_node: Any,
    path: Path,
    *,
    volume_node: Any = None,
    eye: Sequence[float] = (-0.35, 0.75, 0.6),
    pixels: tuple[int, int] = (900, 620),
) -> None:
    """Writes the closed surfaces of the segments with a legend of their names and an orientation marker.

    Args:
        app: as :func:`slicer_app.slicer_app` gives it.
        segmentation_node: with closed surfaces.
        path: a PNG file.
        volume_node: an axial slice of it is the floor below the segments; None: no floor.
        eye: direction in RAS from the segments to the camera; superior is up.
        pixels: width and height.
    """
    view = _view(app, ViewLayoutDefinition.threed_view(name="Picture3D", background_color=BACKGROUND))
    view.render_window().SetSize(*pixels)
    renderer, node = view.renderer(), view.get_view_node()
    renderer.SetGradientBackground(True)
    node.SetOrientationMarkerType(slicer.vtkMRMLAbstractViewNode.OrientationMarkerTypeAxes)
    node.SetOrientationMarkerSize(slicer.vtkMRMLAbstractViewNode.OrientationMarkerSizeSmall)
    bounds = [0.0] * 6
    segmentation_node.GetRASBounds(bounds)
    low, high = np.array(bounds[0::2]), np.array(bounds[1::2])
    middle = (low + high) / 2
    camera = view.get_camera_node()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + 4 * np.linalg.norm(high - low) * np.asarray(eye) / np.linalg.norm(eye)))
    camera.SetViewUp(0, 0, 1)
    floor = _floor(app, volume_node, bounds) if volume_node is not None else None
    renderer.ResetCamera(bounds)
    legend = _legend(segmentation_node, pixels[1])
    for actor in legend:
        renderer.AddViewProp(actor)
    try:
        _write(path, _picture(view))
    finally:
        for actor in legend:
            renderer.RemoveViewProp(actor)
        if floor is not None:
            floor.SetSliceVisible(False)


def segment_points(segmentation_node: Any, volume_node: Any) -> np.ndarray:
    """Where the voxels of all segments lie: (n, 3), RAS in the world, mm.

    Raises:
        VolumeError: there are none.
    """
    labels = labels_from_segments(segmentation_node, volume_node)
    ijk = np.argwhere(labels)[:, ::-1]
    if not len(ijk):
        raise VolumeError(f"{segmentation_node.GetName()} has no voxel that a picture could show; segment something.")
    to_ras = RAS_TO_LPS @ volume_from_node(volume_node).geometry.ijk_to_lps()
    return np.asarray(ijk @ to_ras[:3, :3].T + to_ras[:3, 3])


def largest_cuts(points: np.ndarray, step_mm: float = 1.0) -> np.ndarray:
    """The R, A and S (mm) at which most of the points lie within one step."""
    cuts = []
    for values in points.T:
        edges = np.arange(values.min() - step_mm / 2, values.max() + step_mm, step_mm)
        counts, edges = np.histogram(values, bins=edges)
        cuts.append(edges[counts.argmax()] + step_mm / 2)
    return np.array(cuts)


def set_window(volume_node: Any, center: np.ndarray, reach_mm: float) -> None:
    """Sets window and level to the bulk of the values within a cube of that size, without what is darkest: air."""
    volume = volume_from_node(volume_node)
    to_ijk = np.linalg.inv(RAS_TO_LPS @ volume.geometry.ijk_to_lps())
    at = (to_ijk @ [*center, 1.0])[:3]
    half = reach_mm / 2 / np.asarray(volume.geometry.spacing)
    first = np.clip(np.floor(at - half), 0, np.subtract(volume.geometry.size, 1)).astype(int)
    last = np.clip(np.ceil(at + half), first + 1, volume.geometry.size).astype(int)
    part = volume.array[first[2] : last[2], first[1] : last[1], first[0] : last[0]]
    shown = part[part > part.min()]
    least, greatest = np.percentile(shown if shown.size else part, WINDOW_PERCENTILES)
    if volume_node.GetDisplayNode() is None:
        volume_node.CreateDefaultDisplayNodes()
    display = volume_node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(float(least), float(greatest))


def _view(app: Any, definition: Any) -> Any:
    """The view of that name, made on first use."""
    if not any(isinstance(factory, DirectViewFactory) for factory in app.view_manager._factories):
        app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    # Views complain of a missing display although they need none, and of VTK 9.6 to trame-slicer's author.
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        view = app.view_manager.create_view(definition)
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()
    # Otherwise it would draw after each change of the scene, which takes seconds in software.
    view.set_render_blocked(True)
    return view


def _slice_picture(app: Any, volume_node: Any, name: str, center: np.ndarray, reach: float, pixels: int) -> np.ndarray:
    view = _view(app, ViewLayoutDefinition.slice_view(name, label=f"Picture{name}"))
    view.render_window().SetSize(pixels, pixels)
    view.set_background_volume_id(volume_node.GetID())
    node = view.get_view_node()
    node.SetOrientation(name)
    # VTK 9.6 no longer sends the event by which trame-slicer's views learn their size.
    node.SetDimensions(pixels, pixels, 1)
    node.SetFieldOfView(reach, reach, 1.0)
    node.JumpSliceByCentering(*center)
    node.SetRulerType(slicer.vtkMRMLAbstractViewNode.RulerTypeThin)
    _draw_image_first(view.renderer())
    letters = _letters(array_from_matrix(node.GetSliceToRAS()), pixels)
    for letter in letters:
        view.renderer().AddViewProp(letter)
    try:
        return _picture(view)
    finally:
        for letter in letters:
            view.renderer().RemoveViewProp(letter)


def _draw_image_first(renderer: Any) -> None:
    """Puts the scan before all that lies on it: what is translucent is mixed with what was drawn before it."""
    background = [prop for prop in renderer.GetViewProps() if _is_image(prop)]
    for prop in [prop for prop in renderer.GetViewProps() if prop not in background]:
        renderer.RemoveViewProp(prop)
        renderer.AddViewProp(prop)


def _is_image(prop: Any) -> bool:
    return prop.IsA("vtkActor2D") and prop.GetProperty().GetDisplayLocation() == vtk.VTK_BACKGROUND_LOCATION


def _letters(slice_to_ras: np.ndarray, pixels: int) -> list[Any]:
    """The anatomical sides at the right, left, upper and lower border of a slice view."""
    actors = []
    for axis, sign, x, y in ((0, 1, 0.96, 0.5), (0, -1, 0.04, 0.5), (1, 1, 0.5, 0.96), (1, -1, 0.5, 0.09)):
        towards = sign * slice_to_ras[:3, axis]
        main = int(np.abs(towards).argmax())
        actors.append(_text(SIDES[main][int(towards[main] > 0)], x * pixels, y * pixels, pixels // 22))
    return actors


def _text(words: str, x: float, y: float, size: int, color: Sequence[float] = LETTER_COLOR) -> Any:
    actor = vtk.vtkTextActor()
    actor.SetInput(words)
    actor.SetPosition(x, y)
    style = actor.GetTextProperty()
    style.SetFontSize(size)
    style.SetBold(True)
    style.SetColor(*color)
    style.SetShadow(True)
    style.SetJustificationToCentered()
    style.SetVerticalJustificationToCentered()
    return actor


def _legend(segmentation_node: Any, height: int) -> list[Any]:
    """The segments' names from above to below, each beside a square of its colour."""
    segmentation = segmentation_node.GetSegmentation()
    size = max(height // 34, 10)
    actors = []
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        y = height - 2 * size * (number + 1)
        square = _text("M", 1.5 * size, y, size, segment.GetColor())
        square.GetTextProperty().SetBackgroundColor(*segment.GetColor())
        square.GetTextProperty().SetBackgroundOpacity(1.0)
        name = _text(segment.GetName(), 3 * size, y, size, NAME_COLOR)
        name.GetTextProperty().SetJustificationToLeft()
        for actor in (square, name):
            actor.GetTextProperty().SetShadow(False)
            actor.GetTextProperty().SetBold(False)
        actors += [square, name]
    return actors


def _floor(app: Any, volume_node: Any, bounds: Sequence[float]) -> Any:
    """The slice node of an axial slice, shown in 3D a little below some bounds (RAS, mm) and wider than they are."""
    view = _view(app, ViewLayoutDefinition.slice_view("Axial", label="PictureFloor"))
    view.set_background_volume_id(volume_node.GetID())
    node = view.get_view_node()
    width, height = (3.5 * max(high - low, 50.0) for low, high in (bounds[0:2], bounds[2:4]))
    node.SetDimensions(int(3 * width), int(3 * height), 1)
    node.SetFieldOfView(width, height, 1.0)
    node.JumpSliceByCentering((bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, bounds[4] - FLOOR_GAP_MM)
    node.SetSliceVisible(True)
    return node


def _picture(view: Any) -> np.ndarray:
    """What a view shows: (rows from above, columns, RGB)."""
    view.render_window().Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def _write(path: Path, picture: np.ndarray) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
