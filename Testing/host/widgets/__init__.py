"""Stand-ins for the widgets of Slicer and CTK, on real Qt."""
