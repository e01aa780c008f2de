"""What touches Slicer: nodes of the scene from and to the engine. slicer and vtk; torch only inside functions."""
