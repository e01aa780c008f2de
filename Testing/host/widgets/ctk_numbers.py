"""CTK's sliders and spin boxes."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from ..properties import handed_on, qt_property, stored
from .parts import hear, row_layout

STEPS = 10_000


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box for floats."""

    valueChanged = QtCore.Signal((float,), (str,))
    editingFinished = QtCore.Signal()
    decimalsChanged = QtCore.Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        row_layout(self, self._spin)
        hear(self._spin.valueChanged, self._changed)
        self._spin.editingFinished.connect(self.editingFinished)

    def _changed(self, value: float) -> None:
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self._spin.text())

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    setValueIfDifferent = setValueAlways = setValue

    def setDecimals(self, decimals: int) -> None:
        if decimals != self._spin.decimals():
            self._spin.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    def setReadOnly(self, read_only: bool) -> None:
        self._spin.setReadOnly(read_only)

    def stepUp(self) -> None:
        self._spin.stepUp()

    def stepDown(self) -> None:
        self._spin.stepDown()

    def _decimals(self) -> int:
        return self._spin.decimals()

    def _clean_text(self) -> str:
        return self._spin.cleanText()

    value = handed_on(float, "_spin", "value")
    minimum = handed_on(float, "_spin", "minimum")
    maximum = handed_on(float, "_spin", "maximum")
    singleStep = handed_on(float, "_spin", "singleStep")
    prefix = handed_on(str, "_spin", "prefix")
    suffix = handed_on(str, "_spin", "suffix")
    readOnly = handed_on(bool, "_spin", "isReadOnly", "setReadOnly")
    frame = handed_on(bool, "_spin", "hasFrame", "setFrame")
    decimals = qt_property(int, _decimals, setDecimals)
    cleanText = qt_property(str, _clean_text)


class _Slider(QtWidgets.QSlider):
    """A slider of floats in 10,000 steps."""

    def __init__(self, parent: QtWidgets.QWidget) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal, parent)
        self.setRange(0, STEPS)
        self.lowest, self.highest = 0.0, 99.0

    def to_position(self, value: float) -> int:
        span = self.highest - self.lowest
        return round(STEPS * (value - self.lowest) / span) if span > 0 else 0

    def to_value(self, position: int) -> float:
        return self.lowest + (self.highest - self.lowest) * position / STEPS

    def show_value(self, value: float) -> None:
        self.blockSignals(True)
        self.setValue(self.to_position(value))
        self.blockSignals(False)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = _Slider(self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        row_layout(self, self._slider, self._spin).setStretch(0, 1)
        hear(self._spin.valueChanged, self._spun)
        hear(self._slider.valueChanged, self._slid)
        hear(self._slider.sliderReleased, self._released)
        self._told = 0.0

    def _slid(self, position: int) -> None:
        value = self._slider.to_value(position)
        self.valueIsChanging.emit(value)
        if self.tracking or not self._slider.isSliderDown():
            self._spin.setValue(value)

    def _released(self) -> None:
        self._spin.setValue(self._slider.to_value(self._slider.value()))

    def _spun(self, value: float) -> None:
        if not self._slider.isSliderDown():
            self._slider.show_value(value)
        if value != self._told:
            self._told = value
            self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def reset(self) -> None:
        self.setValue(max(0.0, self._spin.minimum()))

    def setDecimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    def _decimals(self) -> int:
        return self._spin.decimals()

    def _is_spin_box_visible(self) -> bool:
        return not self._spin.isHidden()

    def _minimum(self) -> float:
        return self._spin.minimum()

    def _maximum(self) -> float:
        return self._spin.maximum()

    def _set_minimum(self, value: float) -> None:
        self._spin.setMinimum(value)
        self._range_changed()

    def _set_maximum(self, value: float) -> None:
        self._spin.setMaximum(value)
        self._range_changed()

    def _range_changed(self) -> None:
        self._slider.lowest, self._slider.highest = self._spin.minimum(), self._spin.maximum()
        self._slider.show_value(self._spin.value())

    value = handed_on(float, "_spin", "value")
    minimum = qt_property(float, _minimum, _set_minimum)
    maximum = qt_property(float, _maximum, _set_maximum)
    singleStep = handed_on(float, "_spin", "singleStep")
    pageStep = stored(float, "pageStep", 10.0)
    prefix = handed_on(str, "_spin", "prefix")
    suffix = handed_on(str, "_spin", "suffix")
    decimals = qt_property(int, _decimals, setDecimals)
    spinBoxVisible = qt_property(bool, _is_spin_box_visible, setSpinBoxVisible)
    tracking = stored(bool, "tracking", True)
    tickInterval = stored(float, "tickInterval", 0.0)
