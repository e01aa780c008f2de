"""``make test-slicer``: the module's own test and the tests of the panel, inside a real Slicer."""
