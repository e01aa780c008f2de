"""Runs AH-Net: volumes, models, inference, training, evaluation, reports. Never imports slicer, vtk or qt."""
